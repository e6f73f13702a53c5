"""Dropout of units: y = m * x with m_i ~ Bernoulli(keep_prob)."""

import torch
from torch import Tensor

from ..validation import SCALING, declared
from .base import KEEP_PROB, StochasticLayer
from .draw import keep_mask


@declared(keep_prob=KEEP_PROB, scaling=SCALING)
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
    keep_prob : float or torch.Tensor
        Probability to KEEP a unit, in (0, 1]. ``torch.nn.Dropout`` takes 1 - keep_prob. A tensor
        broadcasts with the input: a probability for each unit, or for each of several networks.
    scaling : {"inverted", "weight"}
        Whether the factor goes into training, as in all libraries, or into eval, the original rule.

    Shape
    -----
    Input and output: any shape, any floating-point dtype (another one is a TypeError in training).
    Each entry has its own mask, so each example of a batch has one too.

    References
    ----------
    Srivastava et al. (2014), *Dropout: a simple way to prevent neural networks from overfitting*,
    JMLR 15: section 4 ("weight"), section 10 ("inverted").

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layer = Dropout(keep_prob=0.5)
    >>> layer(torch.ones(8))
    tensor([2., 0., 2., 0., 2., 0., 2., 0.])
    >>> layer.eval()(torch.ones(8))
    tensor([1., 1., 1., 1., 1., 1., 1., 1.])
    """

    def __init__(self, keep_prob=0.5, scaling="inverted"):
        super().__init__()
        if isinstance(keep_prob, Tensor):  # goes along to other devices, but into no state dict
            self.register_buffer("keep_prob", keep_prob, persistent=False)
        else:
            self.keep_prob = keep_prob
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        p = self.keep_prob
        if not self.training:
            return x if self.scaling == "inverted" else x * p
        if not isinstance(p, Tensor) and p == 1:
            return x
        if isinstance(p, Tensor):  # which may have become 0 in half precision
            p = p.clamp(min=torch.finfo(p.dtype).tiny)
        mask = keep_mask(x, p)
        return x * mask.div_(p) if self.scaling == "inverted" else x * mask
