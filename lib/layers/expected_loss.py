"""Cross-entropy averaged over the noise of the logits, without a sample of it."""

from torch import Tensor

from ..validation import check_shapes, declared
from .base import TENSOR
from .moments import MOMENTS


@declared(output=MOMENTS, labels=TENSOR)
def expected_cross_entropy(output, labels) -> Tensor:
    r"""Cross-entropy averaged over the noise of the logits: an upper bound, close for small noise.

    The logits z are taken for independent Gaussians with means :math:`\mu_k` and variances
    :math:`v_k`. (Under dropout they covary, in a linear model too, since they read the same masked
    inputs.) For any numbers a, by Jensen's inequality,

    .. math::

        \mathbb{E}[-\log \text{softmax}_y(z)]
        &= \mathbb{E}\Big[\log \sum_k e^{z_k - \sum_j a_j z_j}\Big]
           + \sum_j a_j \mu_j - \mu_y \\
        &\le \log \sum_k e^{\mu_k + (1 - 2 a_k) v_k / 2} + \tfrac12 \sum_j a_j^2 v_j - \mu_y .

    Here a is the softmax of the means. To the first order in v the bound is then exact: the usual
    cross-entropy plus :math:`\frac12 \sum_k a_k (1 - a_k) v_k`. That term alone would be a poor
    loss, as it vanishes where the means are sure, whatever the noise.

    Parameters
    ----------
    output : pair of torch.Tensor, shape (..., n, classes), or one such tensor
        Means and variances of the logits; or logits, for which it is the usual cross-entropy.
    labels : torch.Tensor of int, shape (..., n)

    Returns
    -------
    torch.Tensor, shape (...)
        Mean over the n examples, of which there must be some. It can be a `loss` of `fit`.

    References
    ----------
    Knowles and Minka (2011), *Non-conjugate variational message passing for multinomial and binary
    regression*, NIPS, for the bound.

    Examples
    --------
    >>> import torch
    >>> mean, labels = torch.zeros(1, 2), torch.tensor([0])
    >>> expected_cross_entropy(mean, labels)
    tensor(0.6931)
    >>> expected_cross_entropy((mean, torch.ones(1, 2)), labels)
    tensor(0.9431)
    """
    mean, variance = output
    fits = mean.shape[:-1] == labels.shape and labels.numel() > 0
    allowed = "(..., n, classes) and (..., n), with examples"
    check_shapes(fits, allowed, output=mean, labels=labels)
    chosen = mean.gather(-1, labels[..., None])[..., 0]  # (..., n)
    if variance is None:
        return (mean.logsumexp(dim=-1) - chosen).mean(dim=-1)
    a = mean.softmax(dim=-1)
    bound = (mean + (0.5 - a) * variance).logsumexp(dim=-1)
    bound = bound + (a.square() * variance).sum(dim=-1) / 2
    return (bound - chosen).mean(dim=-1)
