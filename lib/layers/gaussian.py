"""Gaussian dropout: y = m * x with m_i ~ N(1, (1 - keep_prob) / keep_prob)."""

import math

import torch
from torch import Tensor

from ..validation import PROBABILITY, declared
from .base import StochasticLayer, check_floating_point


@declared(keep_prob=PROBABILITY)
class GaussianDropout(StochasticLayer):
    r"""Gaussian dropout: multiply each unit by Gaussian noise of mean 1.

    The noise has the variance of inverted dropout's mask. With p that mask's probability to keep,
    and x the input:

    ============  ===========================================================
    training      :math:`m \odot x`, with :math:`m_i \sim N(1, (1 - p) / p)`
    eval          :math:`x`
    ============  ===========================================================

    No unit is dropped. Each entry has its own noise, so each example of a batch has one too.

    Parameters
    ----------
    keep_prob : float
        Probability to KEEP a unit, in (0, 1], of the dropout whose variance is matched: the noise
        has the standard deviation 1 at 0.5, and 0 at 1. ``keras.layers.GaussianDropout`` takes
        1 - keep_prob.

    Shape
    -----
    Input and output: any shape, any floating-point dtype (another one is a TypeError in training).

    References
    ----------
    Srivastava et al. (2014), *Dropout: a simple way to prevent neural networks from overfitting*,
    JMLR 15, section 10. With :math:`\alpha = (1 - p) / p` it is the noise of Kingma et al. (2015),
    *Variational dropout and the local reparameterization trick*, NeurIPS 28.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = GaussianDropout(keep_prob=0.5)
    >>> layer(torch.ones(4))
    tensor([ 2.5410,  0.7066, -1.1788,  1.5684])
    >>> layer.eval()(torch.ones(4))
    tensor([1., 1., 1., 1.])
    """

    def __init__(self, keep_prob=0.5):
        super().__init__()
        self.keep_prob = keep_prob

    def forward(self, x: Tensor) -> Tensor:
        if self.keep_prob == 1 or not self.training:
            return x
        std = math.sqrt((1 - self.keep_prob) / self.keep_prob)
        return x * (1 + std * torch.randn_like(check_floating_point(x)))
