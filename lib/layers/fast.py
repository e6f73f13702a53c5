"""Fast dropout: the mean and variance over all masks, carried through the network; no mask."""

import torch
from torch import nn
from torch.nn.functional import linear

from ..validation import COUNT, PROBABILITY, Flag, OneOf, declared
from .base import single_at_least, without_autocast
from .moments import ACTIVATIONS, MOMENTS


@declared(
    in_features=COUNT,
    out_features=COUNT,
    keep_prob=PROBABILITY,
    activation=OneOf("relu", "sigmoid", None),
    bias=Flag(),
    passes=OneOf("moments", "mean"),
)
class FastDropoutLinear(nn.Linear):
    r"""Linear layer behind dropout, and its activation: mean and variance instead of masks.

    Inputs with means :math:`\mu` and variances v are dropped with inverted scaling and summed. The
    sums z have (squares are taken entry by entry)

    .. math::

        \mathbb{E}[z] = W \mu + b, \qquad
        \text{Var}(z) = W^2 \Big( \frac{v}{p} + \frac{1 - p}{p} \, \mu^2 \Big) .

    Each z is then taken for Gaussian, and the mean and variance of its activation are passed on
    (`lib.layers.moments`). The units of a layer are treated as independent, which they are not, as
    they read the same masked inputs.

    ============  ===========================================================
    training      the pair (mean, variance), or the mean alone (`passes`)
    eval          the activation of :math:`W x + b`, one tensor
    ============  ===========================================================

    Nothing is random in either mode, so it is no `StochasticLayer`. Eval is the ordinary network,
    as for inverted dropout; for the moments at prediction, leave it in training mode.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of units.
    keep_prob : float
        Probability to KEEP an input, in (0, 1].
    activation : {"relu", "sigmoid"} or None
        What follows the sum. With None, mean and variance are exact if the inputs are independent.
    bias : bool
        Whether to add a bias. It is not dropped.
    passes : {"moments", "mean"}
        What it returns in training. The last layer passes "moments" to a loss that can use them
        (`expected_cross_entropy`). With "mean" and no activation, dropout has no effect here.
    device, dtype
        As for ``torch.nn.Linear``.

    Shape
    -----
    Input (..., in_features), or a pair of two such tensors, means and variances; the pair of the
    layer before goes through ``nn.Sequential`` as it is. Output (..., out_features), or a pair. In
    eval the variances of a pair are not used. Another dtype, a pair of two shapes, and a variance
    that is negative or NaN are errors. (Variances are not asked on a graphics card, which would
    wait for the answer, and under ``torch.vmap`` and ``torch.compile``.) Where the means come in
    half precision, the variances are computed, and passed on, in single.

    References
    ----------
    Wang and Manning (2013), *Fast dropout training*, ICML.

    Examples
    --------
    >>> layer = FastDropoutLinear(2, 1, keep_prob=0.5, bias=False).requires_grad_(False)
    >>> _ = layer.weight.copy_(torch.tensor([[1.0, -1.0]]))
    >>> mean, variance = layer(torch.ones(2))
    >>> mean, variance  # z has mean 0 and variance 2
    (tensor([0.5642]), tensor([0.6817]))
    >>> layer.eval()(torch.ones(2))
    tensor([0.])
    """

    def __init__(
        self,
        in_features,
        out_features,
        keep_prob=0.5,
        activation="relu",
        bias=True,
        *,
        passes="moments",
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.keep_prob = keep_prob
        self.activation = activation
        self.passes = passes

    def forward(self, x):
        mean, variance = MOMENTS.check(x, "x")
        plain, moments = ACTIVATIONS[self.activation]
        dtype = single_at_least(mean.dtype)  # of variances
        nothing_varies = self.keep_prob == 1 and variance is None
        if nothing_varies or not self.training:
            mean = plain(linear(mean, self.weight, self.bias))
            variance = torch.zeros_like(mean, dtype=dtype)
        else:
            with without_autocast(mean):
                spread = mean.to(dtype).square() * ((1 - self.keep_prob) / self.keep_prob)
                if variance is not None:
                    spread = spread + variance.to(dtype) / self.keep_prob  # (..., in)
                z_variance = linear(spread, self.weight.to(dtype).square())  # (..., out)
            z_mean = linear(mean, self.weight)
            if self.bias is not None:
                z_mean = z_mean + self.bias
            mean, variance = moments(z_mean, z_variance)
        return (mean, variance) if self.training and self.passes == "moments" else mean

    def extra_repr(self):
        return (
            f"{super().extra_repr()}, keep_prob={self.keep_prob:g}, "
            f"activation={self.activation!r}, passes={self.passes!r}"
        )
