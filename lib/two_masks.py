"""One input, two masks: losses that ask the two answers to agree, or to be found among others."""

import torch
from torch import nn
from torch.nn.functional import normalize

from lib.layers.base import FLOAT_TENSOR, MODULE, TENSOR
from lib.training import classification_loss
from lib.validation import NOT_NEGATIVE, POSITIVE, Function, Optional, check_shapes, declared


@declared(first=FLOAT_TENSOR, second=FLOAT_TENSOR)
def disagreement(first, second):
    r"""How far two predictions of the same inputs are apart, in nats: shape (...).

    .. math:: \tfrac12 \left[ KL(p_1 \| p_2) + KL(p_2 \| p_1) \right]
        = \tfrac12 \sum_c (z_{1c} - z_{2c}) (p_{1c} - p_{2c})

    Parameters
    ----------
    first, second : torch.Tensor, shape (..., classes)
        Logits z of the two, finite; p is their softmax. A class that is masked by -inf gives NaN.

    References
    ----------
    Liang et al. (2021), *R-Drop: Regularized dropout for neural networks*, section 2.

    Examples
    --------
    >>> disagreement(torch.tensor([0.0, 0.0]), torch.tensor([2.0, 0.0]))
    tensor(0.3808)
    """
    fits = first.shape == second.shape and first.dim() > 0
    check_shapes(fits, "one shape, (..., classes)", first=first, second=second)
    apart = first.softmax(dim=-1) - second.softmax(dim=-1)
    return ((first - second) * apart).sum(dim=-1) / 2


@declared(net=MODULE, others=Optional(Function()))
class TwoMasks(nn.Module):
    """A network that answers twice in training, with masks drawn anew, and once in eval.

    Parameters
    ----------
    net : torch.nn.Module
        Maps inputs (batch, ...) to logits (batch, classes).
    others : callable, optional
        Takes nothing and returns inputs without labels, (n, ...), new ones at each call. They are
        answered behind the batch.

    Shape
    -----
    In training the output is (2, batch + n, classes), else (batch, classes).

    Notes
    -----
    The two answers come from one call of `net`, with twice the examples. Where a layer draws one
    mask for a whole batch, as ``StochasticDepth(branch, gate="batch")`` does, or
    ``DropConnectLinear(n_in, n_out, masks="batch")``, both answers have it: they don't disagree.
    Batch normalization sees both copies at once.

    Inside `lib.inference.sampling` there is one answer, but two with ``layers="all"``.

    Examples
    --------
    >>> net = TwoMasks(nn.Linear(4, 3))
    >>> net(torch.zeros(5, 4)).shape, net.eval()(torch.zeros(5, 4)).shape
    (torch.Size([2, 5, 3]), torch.Size([5, 3]))
    """

    def __init__(self, net, others=None):
        super().__init__()
        self.net, self.others = net, others

    def forward(self, x):
        if not self.training:
            return self.net(x)
        if self.others is not None:
            x = torch.cat([x, self.others()])
        answers = TENSOR.check(self.net(torch.cat([x, x])), "the output of net")
        fits = answers.dim() > 1 and len(answers) == 2 * len(x)
        check_shapes(fits, f"({2 * len(x)}, ..., classes) for as many inputs", net=answers)
        return answers.unflatten(0, (2, len(x)))


@declared(weight=NOT_NEGATIVE)
def r_drop(weight):
    """Make a loss for `TwoMasks`, as `lib.training.fit` takes it.

    In training it is the mean cross-entropy of both answers to the batch, and `weight` times the
    mean `disagreement` of all pairs of answers, those to inputs without labels included. In eval it
    is the cross-entropy: logits (batch, classes), in place of (2, batch + n, classes), are one
    answer. So are those of a network that is not in a `TwoMasks`.

    Parameters
    ----------
    weight : float
        0 or more. With 0 the answers need not agree: two masks for each example, and nothing else.

    References
    ----------
    Liang et al. (2021), *R-Drop: Regularized dropout for neural networks*, section 2; the form of
    the loss is that of the authors' code, https://github.com/dropreg/R-Drop.

    Examples
    --------
    >>> agreed, y = torch.zeros(2, 5, 3), torch.zeros(5, dtype=int)
    >>> r_drop(weight=1.0)(agreed, y)
    tensor(1.0986)
    """

    @declared(logits=TENSOR, y=TENSOR)
    def loss(logits, y):
        if logits.shape[:-1] == y.shape:  # one answer
            return classification_loss(logits, y)
        fits = logits.dim() == y.dim() + 2 and logits.shape[-3] == 2
        fits = fits and 0 < y.shape[-1] <= logits.shape[-2]
        allowed = "(..., 2, n, classes) and (..., n), or fewer labels than answers"
        check_shapes(fits, allowed, logits=logits, y=y)
        labelled = logits[..., : y.shape[-1], :]
        both = classification_loss(labelled, y.unsqueeze(-2).expand(labelled.shape[:-1]))
        return both.mean(dim=-1) + weight * disagreement(*logits.unbind(-3)).mean(dim=-1)

    return loss


@declared(first=FLOAT_TENSOR, second=FLOAT_TENSOR, temperature=POSITIVE)
def contrastive_loss(first, second, temperature):
    r"""Mean loss, in nats, of finding each input's second view among all of the batch.

    .. math:: -\log \frac{e^{\cos(h_i, h'_i) / \tau}}{\sum_j e^{\cos(h_i, h'_j) / \tau}}

    Parameters
    ----------
    first, second : torch.Tensor, shape (batch, features)
        The two views h and h' of each input: its outputs with two masks. A batch of one has a loss
        of 0: there is nothing to confuse it with.
    temperature : float
        The smaller, the more the nearest of the others count.

    Notes
    -----
    A view of zeros has no direction. Its cosines are 0, and its gradient is finite but huge, some
    10^12: where it can occur, bound the gradient's norm.

    References
    ----------
    Gao, Yao and Chen (2021), *SimCSE: Simple contrastive learning of sentence embeddings*, section
    3; their temperature is 0.05.

    Examples
    --------
    >>> views = torch.eye(2)
    >>> contrastive_loss(views, views, temperature=1.0)
    tensor(0.3133)
    """
    fits = first.shape == second.shape and first.dim() == 2 and first.numel() > 0
    check_shapes(fits, "one shape, (batch, features), not empty", first=first, second=second)
    similar = normalize(first, dim=-1) @ normalize(second, dim=-1).T / temperature
    return -similar.log_softmax(dim=-1).diagonal().mean()
