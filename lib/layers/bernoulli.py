"""Dropout of units: y = m * x with m_i ~ Bernoulli(keep_prob)."""

import torch
from torch import Tensor

from lib.layers.base import StochasticLayer, check_floating_point
from lib.validation import check_choice, check_keep_prob

LEVELS = 2**16  # a 16-bit number decides on each unit


def keep_mask(x, keep_prob):
    """Draw which entries of `x` to keep.

    A random number a unit is what dropout costs on a CPU, where torch draws a 64-bit word for
    each. Sixteen bits are enough, so one word here decides on four units.

    Parameters
    ----------
    x : torch.Tensor
        Gives the shape, the dtype and the device.
    keep_prob : float
        Probability that an entry is kept, in (0, 1].

    Returns
    -------
    mask : torch.Tensor, the shape and dtype of `x`
        1 where the entry is kept, else 0.
    drawn_prob : float
        The probability really drawn with: `keep_prob`, rounded to a multiple of 2**-16 on a CPU
        and to single precision elsewhere.

    Raises
    ------
    TypeError
        If `x` is not of a floating-point dtype.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> mask, drawn_prob = keep_mask(torch.ones(2, 3), keep_prob=0.7)
    >>> mask.shape, round(drawn_prob, 4)
    (torch.Size([2, 3]), 0.7)
    """
    check_floating_point(x)
    threshold = round(keep_prob * LEVELS)
    if x.device.type != "cpu" or threshold in (0, LEVELS):
        keep_prob = torch.tensor(keep_prob, dtype=torch.float32)  # `x` may be too coarse for it
        mask = torch.bernoulli(keep_prob.to(x.device).expand(x.shape))
        return mask.to(x.dtype), keep_prob.item()
    words = torch.randint(-(2**63), 2**63 - 1, (x.numel() // 4 + 1,), device=x.device)
    bits = words.view(torch.int16)[: x.numel()].view(x.shape)
    top = threshold - LEVELS // 2  # bits are uniform on -2^15 ... 2^15 - 1: keep where bits < top
    bits = top - bits.clamp(top - 1, top)  # 1 or 0; an ordinary comparison takes far longer
    return bits.to(x.dtype), threshold / LEVELS


class Dropout(StochasticLayer):
    r"""Dropout: keep each unit with probability `keep_prob`, else set it to zero.

    With :math:`m_i \sim \text{Bernoulli}(p)`, p the probability to keep, and x the input:

    ============  =====================  ===============
    scaling       training               eval
    ============  =====================  ===============
    "inverted"    :math:`m \odot x / p`  :math:`x`
    "weight"      :math:`m \odot x`      :math:`p\, x`
    ============  =====================  ===============

    Either way eval gives the mean of what training gives.

    Parameters
    ----------
    keep_prob : float
        Probability to KEEP a unit, in (0, 1]. ``torch.nn.Dropout`` takes 1 - keep_prob.
    scaling : {"inverted", "weight"}
        Where the factor goes: into training (the default, as in all libraries), or into eval
        (the original rule).

    Shape
    -----
    Input and output: any shape, any floating-point dtype. Each entry has its own mask, so each
    example of a batch has one too.

    Raises
    ------
    TypeError
        If `keep_prob` is not a number.
    ValueError
        If `keep_prob` is outside (0, 1], or `scaling` is not one of the two.

    Notes
    -----
    On a CPU the mask is drawn with `keep_prob` rounded to a multiple of 2**-16, and the inverted
    scale divides by that rounded probability, so that the mean is x up to the rounding of the
    dtype. With "weight" the mean in training is off from :math:`p\, x` by at most 2**-17 x.

    References
    ----------
    Srivastava et al. (2014), *Dropout: a simple way to prevent neural networks from overfitting*,
    JMLR 15: section 4 ("weight"), section 10 ("inverted").

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = Dropout(keep_prob=0.5)
    >>> layer(torch.ones(8))
    tensor([2., 2., 0., 0., 2., 2., 2., 0.])
    >>> layer.eval()(torch.ones(8))
    tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, keep_prob=0.5, scaling="inverted"):
        super().__init__()
        self.keep_prob = check_keep_prob(keep_prob)
        self.scaling = check_choice(scaling, "scaling", ("inverted", "weight"))

    def forward(self, x: Tensor) -> Tensor:
        if self.keep_prob == 1:
            return x
        if not self.training:
            return x if self.scaling == "inverted" else x * self.keep_prob
        mask, drawn_prob = keep_mask(x, self.keep_prob)
        return x * mask.div_(drawn_prob) if self.scaling == "inverted" else x * mask

    def extra_repr(self):
        return f"keep_prob={self.keep_prob:g}, scaling={self.scaling!r}"
