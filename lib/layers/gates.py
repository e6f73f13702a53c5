"""Gates: one draw decides on a whole branch, so that Python may have to know what was drawn."""

import torch
from torch.fx.experimental.proxy_tensor import get_proxy_mode  # is make_fx tracing?

from ..validation import OneOf
from .base import TENSOR, check_floating_point

GATE = OneOf("batch", "example")  # one draw for the whole batch, or one for each example


def gate_shape(gate, x, name="x"):
    """Shape of one gate, or of one for each example, that broadcasts with `x`."""
    if gate == "batch":
        return ()
    if TENSOR.check(x, name).dim() == 0:
        raise ValueError(f'{name} must have a first dimension of examples with gate="example"')
    return (x.shape[0], *(1 for _ in x.shape[1:]))


def at_hand(x):
    """Stand in for `x` where gates are drawn that Python reads: in main memory, and empty.

    A graphics card would be asked for them, and the answer waits for all that it has to do.
    """
    return torch.empty(0, dtype=check_floating_point(x).dtype, device="cpu")


def known(drawn):
    """List the whole numbers that were drawn `at_hand`; None where no number stands for them.

    Under ``torch.vmap`` a number stands for many, and in a program that is traced or exported for
    those of other runs.
    """
    if torch.compiler.is_exporting() or torch.jit.is_tracing() or get_proxy_mode() is not None:
        return None
    try:
        return [int(number) for number in drawn.flatten().tolist()]
    except RuntimeError:  # in main memory nothing else can go wrong
        return None
