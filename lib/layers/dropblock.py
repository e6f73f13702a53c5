"""DropBlock: y = m * x / mean(m), where a mask drops squares of a feature map."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..validation import COUNT, PROBABILITY, OneOf, check_shapes, declared
from .base import TENSOR, StochasticLayer, single_at_least
from .draw import keep_mask


@declared(block_size=COUNT, keep_prob=PROBABILITY, masks=OneOf("channel", "example"))
class DropBlock2d(StochasticLayer):
    r"""DropBlock: drop squares of each feature map.

    Each place at which a block of b x b fits whole into the map, of H x W, is the corner of a
    dropped block with probability :math:`\gamma`, independently of the others. With m the mask that
    is 0 in these blocks, p the probability to keep, and x the input:

    .. math::

        \gamma = \frac{1 - p}{b^2} \cdot \frac{H W}{(H - b + 1)(W - b + 1)}

    ============  ================================================================
    training      :math:`m \odot x / \bar m`, with :math:`\bar m` the share kept:
                  the mean of all masks of the call
    eval          :math:`x`
    ============  ================================================================

    Blocks overlap, so a little more than p is kept on average: :math:`\gamma` would drop the share
    1 - p if no two did. A pixel that k blocks can cover is kept with probability
    :math:`(1 - \gamma)^k`: often in a corner, less often in the middle. So eval is *not* the mean
    of training, pixel by pixel. With ``block_size=1`` this is dropout, but for the factor.

    Parameters
    ----------
    block_size : int
        Side b of a block, at least 1. It is cut to a side of the map that is shorter; a block as
        large as the map drops it whole, with probability 1 - p.
    keep_prob : float
        Probability p to KEEP, in (0, 1], from which :math:`\gamma` follows. What
        ``torchvision.ops.DropBlock2d`` takes is 1 - keep_prob.
    masks : {"channel", "example"}
        Blocks of its own for each map, as in the authors' code, or the same for all maps of an
        example.

    Shape
    -----
    Input and output (batch, channels, height, width) or (channels, height, width) (else it is a
    ValueError), any floating-point dtype (another one is a TypeError in training).

    Notes
    -----
    The share kept is that of the whole mini-batch, as in the authors' code. So the mask of an
    example scales the others, a little: by less, the more maps there are. If nothing at all is
    kept, the output is 0. The authors drop little at first, and more and more during training: set
    ``layer.keep_prob``.

    References
    ----------
    Ghiasi, Lin and Le (2018), *DropBlock: a regularization method for convolutional networks*,
    NeurIPS 31: algorithm 1. The function ``dropblock`` of the authors' code,
    tensorflow/tpu; it takes square maps alone.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = DropBlock2d(block_size=2, keep_prob=0.5)
    >>> layer(torch.ones(1, 4, 5))  # 16 of 20 pixels are kept
    tensor([[[1.2500, 1.2500, 1.2500, 1.2500, 1.2500],
             [1.2500, 1.2500, 1.2500, 1.2500, 1.2500],
             [1.2500, 1.2500, 0.0000, 0.0000, 1.2500],
             [1.2500, 1.2500, 0.0000, 0.0000, 1.2500]]])
    """

    def __init__(self, block_size=7, keep_prob=0.9, masks="channel"):
        super().__init__()
        self.block_size = block_size
        self.keep_prob = keep_prob
        self.masks = masks

    def forward(self, x: Tensor) -> Tensor:
        fits = TENSOR.check(x, "x").dim() in (3, 4)
        fits = fits and 0 not in x.shape[-2:]
        allowed = "(batch, channels, height, width) or (channels, height, width), with pixels"
        check_shapes(fits, allowed, x=x)
        if self.keep_prob == 1 or not self.training:
            return x
        mask = self._draw_mask(x)
        share_kept = mask.mean(dtype=single_at_least(x.dtype))
        scaled = mask / share_kept.clamp(min=torch.finfo(share_kept.dtype).tiny)
        return x * scaled.to(x.dtype)

    def _draw_mask(self, x):
        """Masks that broadcast with x, 0 in the blocks."""
        *leading, channels, height, width = x.shape
        down, right = min(self.block_size, height), min(self.block_size, width)
        rows, columns = height - down + 1, width - right + 1  # where a block may begin
        gamma = (1 - self.keep_prob) / (down * right) * (height * width) / (rows * columns)
        maps = channels if self.masks == "channel" else 1
        begins = 1 - keep_mask(x, 1 - gamma, (*leading, maps, rows, columns))
        around = F.pad(begins, (right - 1, right - 1, down - 1, down - 1))
        return 1 - _largest_of(_largest_of(around, down, dim=-2), right, dim=-1)


# An optimisation, of `F.max_pool2d` with the stride 1, which takes 200 times as long for blocks of
# 7 x 7: the largest of 7 neighbours follows from that of 4, that from that of 2.


def _largest_of(x, size, dim):
    """The largest of `size` neighbours along a dimension, at each place where they fit."""
    done = 1
    while done < size:
        step = min(done, size - done)
        n = x.shape[dim] - step
        x, done = torch.maximum(x.narrow(dim, 0, n), x.narrow(dim, step, n)), done + step
    return x
