"""Max-pooling dropout: drop activations, then take the largest of each window."""

import torch
import torch.nn.functional as F
from torch import Tensor

from ..validation import COUNT, PROBABILITY, Optional, Pair, Whole, check_shapes, declared
from .base import TENSOR, StochasticLayer, check_floating_point, single_at_least
from .draw import keep_mask
from .two_by_two import mean_pool


@declared(
    kernel_size=Pair(COUNT),
    keep_prob=PROBABILITY,
    stride=Optional(Pair(COUNT)),
    padding=Pair(Whole(0)),
)
class MaxPoolDropout2d(StochasticLayer):
    r"""Max pooling of activations that are dropped, and its mean at prediction.

    With :math:`m_i \sim \text{Bernoulli}(p)`, p the probability to keep, q = 1 - p, and
    :math:`a_1 \le \dots \le a_n` the activations of one window, sorted:

    ============  =========================================================================
    training      :math:`\max_i \, m_i a_i`
    eval          :math:`\sum_i p \, q^{n-i} \max(a_i, 0) + p^n \min(a_n, 0)`
    ============  =========================================================================

    Eval gives the mean of what training gives, exactly: it is *probabilistic weighted pooling*.
    There is no factor 1 / p in training. A dropped activation counts as 0, so a negative one comes
    out only where all of a window are negative and kept: that is the last term, 0 after a ReLU.
    Padding never counts: n is smaller at a padded border.

    Parameters
    ----------
    kernel_size : int or pair of int
        Height and width of a window, at least 1.
    keep_prob : float
        Probability to KEEP an activation, in (0, 1]. With 1 this is ``torch.nn.MaxPool2d``.
    stride : int or pair of int, optional
        Step from window to window, at least 1; `kernel_size` if left out. Windows that overlap
        share the mask.
    padding : int or pair of int
        Rows and columns added on both sides, from 0 to half of `kernel_size`.

    Shape
    -----
    Input (batch, channels, height, width) or (channels, height, width), with its padding at least
    as large as a window (else it is a ValueError), any floating-point dtype (else a TypeError).
    Output as of ``torch.nn.MaxPool2d``. Each activation of each example has a mask of its own.

    Notes
    -----
    In training the gradient goes to the one activation that came out. In eval each positive
    activation gets its weight; an activation of exactly 0 gets none.

    References
    ----------
    Wu and Gu (2015), *Towards dropout training for convolutional neural networks*, Neural Networks
    71. The rule for negative activations is ours.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = MaxPoolDropout2d(2, keep_prob=0.5)
    >>> window = torch.tensor([[[1.0, 0.0], [4.0, 2.0]]])
    >>> [layer(window).item() for _ in range(6)]
    [4.0, 4.0, 0.0, 4.0, 4.0, 2.0]
    >>> layer.eval()(window)  # 0.5 * 4 + 0.25 * 2 + 0.125 * 1
    tensor([[[2.6250]]])
    """

    def __init__(self, kernel_size, keep_prob=0.5, stride=None, padding=(0, 0)):
        super().__init__()
        self.keep_prob = keep_prob
        self.kernel_size = kernel_size
        self.stride = kernel_size if stride is None else stride
        self.padding = padding
        if any(2 * pad > size for pad, size in zip(self.padding, self.kernel_size, strict=True)):
            raise ValueError(
                f"padding must be at most half of kernel_size {self.kernel_size}, got {padding!r}"
            )

    def forward(self, x: Tensor) -> Tensor:
        self._check_shape(x)
        if self.keep_prob == 1:
            return self._max_pool(x)
        if self.training:
            return self._max_pool(x * keep_mask(x, self.keep_prob))
        return self._mean_pool(check_floating_point(x))

    def _max_pool(self, x):
        return F.max_pool2d(x, self.kernel_size, self.stride, self.padding)

    def _mean_pool(self, x):
        p, (height, width), (down, right) = self.keep_prob, self.kernel_size, self.padding
        if self.kernel_size == self.stride == (2, 2) and self.padding == (0, 0):
            return mean_pool(x, p)
        ones = torch.ones((1, *x.shape[-2:]), dtype=x.dtype, device=x.device)
        n = F.avg_pool2d(ones, self.kernel_size, self.stride, self.padding, divisor_override=1)
        below_zero = -F.relu(-self._max_pool(x)) * p ** n[0]  # (..., rows, columns)
        windows = F.pad(F.relu(x), (right, right, down, down))  # these zeros add nothing
        windows = windows.unfold(-2, height, self.stride[0]).unfold(-2, width, self.stride[1])
        largest_first = windows.flatten(-2).sort(dim=-1, descending=True).values
        n_larger = torch.arange(height * width, dtype=single_at_least(x.dtype), device=x.device)
        weights = (p * (1 - p) ** n_larger).to(x.dtype)
        return below_zero + (largest_first * weights).sum(dim=-1)

    def _check_shape(self, x):
        fits = TENSOR.check(x, "x").dim() in (3, 4)
        check_shapes(fits, "(batch, channels, height, width) or (channels, height, width)", x=x)
        for size, pad, window in zip(x.shape[-2:], self.padding, self.kernel_size, strict=True):
            if size == 0 or size + 2 * pad < window:
                raise ValueError(
                    f"x must have pixels, and with padding {self.padding} be at least as large "
                    f"as kernel_size {self.kernel_size}, got shape {tuple(x.shape)}"
                )
