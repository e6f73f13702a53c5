"""Spatial dropout: y = m * x with one m_c ~ Bernoulli(keep_prob) for a whole feature map."""

from torch import Tensor

from ..validation import COUNT, PROBABILITY, Optional, check_shapes, declared
from .base import TENSOR, StochasticLayer
from .draw import keep_mask


@declared(keep_prob=PROBABILITY, spatial_dims=Optional(COUNT))
class SpatialDropout(StochasticLayer):
    r"""Spatial dropout: keep each feature map whole, or drop it whole.

    With :math:`m_{nc} \sim \text{Bernoulli}(p)`, p the probability to keep, n the example, c the
    channel and k the place in its map:

    ============  ==================================
    training      :math:`m_{nc}\, x_{nck} / p`
    eval          :math:`x_{nck}`
    ============  ==================================

    Parameters
    ----------
    keep_prob : float
        Probability to KEEP a map, in (0, 1]. ``torch.nn.Dropout2d`` and
        ``keras.layers.SpatialDropout2D`` take 1 - keep_prob.
    spatial_dims : int, optional
        How many dimensions a map has, at least 1: 1 for sequences, 2 for images, 3 for volumes.
        Given, an input may be one example without a batch. By default the input is always a batch.

    Shape
    -----
    Input and output (batch, channels, \*spatial), or, with `spatial_dims`, (channels, \*spatial).
    Another number of dimensions is a ValueError in every mode. Any floating-point dtype (another
    one is a TypeError in training).

    Notes
    -----
    The trap: a tensor of three dimensions is (batch, channels, length), or an image alone,
    (channels, height, width). ``torch.nn.Dropout2d`` takes it for the first, and so drops *rows* of
    the image (pytorch issue #69801). Here it is a batch, unless ``spatial_dims=2`` says otherwise.

    References
    ----------
    Tompson et al. (2015), *Efficient object localization using convolutional networks*, CVPR:
    "SpatialDropout".

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(0)
    >>> layer = SpatialDropout(keep_prob=0.5)
    >>> layer(torch.ones(1, 4, 3))  # four maps of length 3
    tensor([[[2., 2., 2.],
             [0., 0., 0.],
             [2., 2., 2.],
             [0., 0., 0.]]])
    """

    def __init__(self, keep_prob=0.5, spatial_dims=None):
        super().__init__()
        self.keep_prob = keep_prob
        self.spatial_dims = spatial_dims

    def forward(self, x: Tensor) -> Tensor:
        k = self._dims_of_a_map(x)
        if self.keep_prob == 1 or not self.training:
            return x
        one_a_map = (*x.shape[:-k], *(1 for _ in range(k)))  # (batch, channels, 1, ...)
        return x * keep_mask(x, self.keep_prob, one_a_map).div_(self.keep_prob)

    def _dims_of_a_map(self, x):
        k, n = self.spatial_dims, TENSOR.check(x, "x").dim()
        allowed = "(batch, channels, *spatial)"
        if k is None:
            check_shapes(n >= 3, f"{allowed}, at least 3 dimensions", x=x)
            return n - 2
        allowed += f" or (channels, *spatial) with spatial_dims = {k}"
        check_shapes(n in (k + 1, k + 2), f"{allowed}, that is {k + 2} or {k + 1} dimensions", x=x)
        return k
