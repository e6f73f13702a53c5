"""DropConnect in a convolution: each weight of a filter is kept or dropped, at all places alike."""

from torch import nn
from torch.nn.functional import conv2d, pad

from ..validation import (
    COUNT,
    PROBABILITY,
    SCALING,
    Flag,
    OneOf,
    Pair,
    Whole,
    check_shapes,
    declared,
    shown,
)
from .base import check_floating_point
from .dropconnect import DropConnect
from .gates import GATE


@declared(
    in_channels=COUNT,
    out_channels=COUNT,
    kernel_size=Pair(COUNT),
    keep_prob=PROBABILITY,
    stride=Pair(COUNT),
    padding=Pair(Whole(0)),
    dilation=Pair(COUNT),
    groups=COUNT,
    bias=Flag(),
    padding_mode=OneOf("zeros", "reflect", "replicate", "circular"),
    scaling=SCALING,
    masks=GATE,
)
class DropConnectConv2d(DropConnect, nn.Conv2d):
    r"""Convolution that keeps each weight and each bias with probability `keep_prob`.

    With :math:`M, m \sim \text{Bernoulli}(p)` of the shapes of W and b, all entries independent, p
    the probability to keep, x the input and * the convolution:

    ============  =========================================  =========================
    scaling       training                                   eval
    ============  =========================================  =========================
    "inverted"    :math:`((M \odot W) * x + m \odot b) / p`  :math:`W * x + b`
    "weight"      :math:`(M \odot W) * x + m \odot b`        :math:`p \, (W * x + b)`
    ============  =========================================  =========================

    Either way eval gives the mean of what training gives. A weight that is dropped is missing at
    every place of a feature map, so the places depend on one another, and the feature maps of an
    example do not. `moments` are those of each place, exactly, with convolutions for the products.

    Parameters
    ----------
    in_channels, out_channels : int
        Numbers of feature maps.
    kernel_size : int or pair of int
        Height and width of a filter.
    keep_prob : float
        Probability to KEEP a weight, in (0, 1].
    stride, padding, dilation, groups, bias, padding_mode
        As for ``torch.nn.Conv2d``, padding in numbers. The bias is masked too.
    scaling : {"inverted", "weight"}
        Whether the factor goes into training, or into eval, the paper's form.
    masks : {"example", "batch"}
        Whether each example has a mask of its own, or all of a call share one.
    device, dtype
        As for ``torch.nn.Conv2d``.

    Shape
    -----
    Input (batch, in_channels, height, width) or (in_channels, height, width) (else a ValueError),
    of a floating-point dtype (else a TypeError); output as of ``torch.nn.Conv2d``.

    References
    ----------
    Wan et al. (2013), *Regularization of neural networks using DropConnect*, ICML, for linear
    layers; the paper's convolutions have no masks.

    Examples
    --------
    >>> import torch
    >>> _ = torch.manual_seed(3)
    >>> layer = DropConnectConv2d(1, 1, 2, keep_prob=0.5, bias=False).requires_grad_(False)
    >>> _ = layer.weight.fill_(1.0)
    >>> layer(torch.ones(3, 1, 2, 3)).squeeze()  # twice the number of weights kept, at both places
    tensor([[4., 4.],
            [0., 0.],
            [4., 4.]])
    """

    def __init__(
        self,
        in_channels,
        out_channels,
        kernel_size,
        keep_prob=0.5,
        stride=1,
        padding=0,
        dilation=1,
        groups=1,
        bias=True,
        padding_mode="zeros",
        scaling="inverted",
        masks="example",
        *,
        device=None,
        dtype=None,
    ):
        super().__init__(
            *(in_channels, out_channels, kernel_size, stride, padding, dilation, groups, bias),
            *(padding_mode, device, dtype),
        )
        self.keep_prob = keep_prob
        self.scaling = scaling
        self.masks = masks

    def _product(self, x, W, b, examples=1):
        padding = self.padding
        if self.padding_mode != "zeros":
            x = pad(x, self._reversed_padding_repeated_twice, mode=self.padding_mode)
            padding = 0
        return conv2d(x, W, b, self.stride, padding, self.dilation, self.groups * examples)

    def _product_of_each(self, x):
        """The same with a mask for each example: one convolution in groups."""
        n = x.shape[0] if x.dim() == 4 else 1
        if n == 0:
            return self._mean(x)
        mask = self._mask(self.weight, (n, *self.weight.shape))
        W = (mask * self.weight).flatten(0, 1)  # (n out, in / groups, height, width)
        y = self._product(x.reshape(1, -1, *x.shape[-2:]), W, None, examples=n)
        y = y.view(*x.shape[:-3], self.out_channels, *y.shape[-2:])
        if self.bias is None:
            return y
        one_a_map = (*y.shape[:-2], 1, 1)
        return y + self._mask(y, one_a_map) * self.bias[:, None, None]

    def _check_input(self, x):
        n = self.in_channels
        fits = check_floating_point(x).dim() in (3, 4) and x.shape[-3] == n
        check_shapes(fits, f"(batch, {n}, height, width) or ({n}, height, width)", x=x)

    def extra_repr(self):
        plain = vars(self) | {"bias": self.bias is not None}
        return ", ".join(f"{name}={shown(plain[name])}" for name in self.declared)
