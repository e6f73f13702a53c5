"""Dropout of units: y = m * x with m_i ~ Bernoulli(keep_prob)."""

from torch import Tensor

from lib.layers.base import KEEP_PROB, StochasticLayer, in_words, keeps_all, set_keep_prob
from lib.layers.draw import keep_mask
from lib.validation import SCALING, declared


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
        Where the factor goes: into training (the default, as in all libraries), or into eval
        (the original rule).

    Shape
    -----
    Input and output: any shape, any floating-point dtype. Each entry has its own mask, so each
    example of a batch has one too.

    Raises
    ------
    TypeError
        In training, if the input is not of a floating-point dtype.

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
        set_keep_prob(self, keep_prob)
        self.scaling = scaling

    def forward(self, x: Tensor) -> Tensor:
        if not self.training:
            return x if self.scaling == "inverted" else x * self.keep_prob
        if keeps_all(self.keep_prob):
            return x
        mask = keep_mask(x, self.keep_prob)
        return x * mask.div_(self.keep_prob) if self.scaling == "inverted" else x * mask

    def extra_repr(self):
        return f"keep_prob={in_words(self.keep_prob)}, scaling={self.scaling!r}"
