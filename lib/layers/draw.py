"""The one draw behind every mask: m_i ~ Bernoulli(keep_prob)."""

import math

import torch

from .base import check_floating_point


def keep_mask(x, keep_prob, shape=None):
    """Draw a mask for `x`, of its floating-point dtype and on its device: 1 is kept, 0 dropped.

    The probability to keep, in (0, 1], may be a tensor that broadcasts with the mask. The mask has
    the shape of `x`, or a given one, with a 1 where entries of `x` are to share their fate:
    (batch, channels, 1, 1) keeps or drops whole feature maps.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> keep_mask(torch.ones(2, 3), keep_prob=0.7)
    tensor([[1., 1., 1.],
            [0., 1., 1.]])
    >>> keep_mask(torch.ones(2, 3), 0.7, shape=(2, 1))
    tensor([[1.],
            [1.]])
    """
    check_floating_point(x)
    shape = x.shape if shape is None else shape
    if _is_slow_on(x.device) and isinstance(keep_prob, float) and FINEST <= keep_prob <= 1 - FINEST:
        return _two_of_each_word(shape, keep_prob).to(x.dtype)
    return (torch.rand(shape, device=x.device) < keep_prob).to(x.dtype)


# An optimisation. The plain draw above takes a CPU two fifths of the time of torch's dropout, and
# nearly all of it goes into random numbers, of which it throws half of the bits away. Here each
# word of 64 bits decides on two units, with a probability exact to half of 2**-32.

FINEST = 2**-32


def _is_slow_on(device):
    traced = torch.compiler.is_compiling() or torch.jit.is_tracing()
    return device.type == "cpu" and not traced  # a trace has no words for the words below


def _two_of_each_word(shape, keep_prob):
    n = math.prod(shape)
    words = torch.randint(-(2**63), 2**63 - 1, (n // 2 + 1,), device="cpu")
    bits = words.view(torch.int32)[:n].view(shape)  # uniform on -2^31 ... 2^31 - 1
    top = round(keep_prob / FINEST) - 2**31
    return top - bits.clamp(top - 1, top)  # 1 where bits < top, else 0; `<` takes longer
