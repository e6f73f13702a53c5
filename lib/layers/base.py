"""What all stochastic layers share."""

from contextlib import contextmanager, nullcontext

import torch
from torch import nn

from ..validation import Instance, Kind, Real, shown

MODULE = Instance(nn.Module, "a torch.nn.Module", nn.Identity)
TENSOR = Instance(torch.Tensor, "a torch.Tensor", lambda: torch.ones(2, 3))


class StochasticLayer(nn.Module):
    """A layer whose output is random in training and deterministic in eval.

    A subclass asks ``self.training`` and nothing else. `lib.inference.sampling` finds the layers
    of this class and switches that flag on them alone, so that they sample while the rest of the
    model stays in eval.
    """

    declared = {}  # replaced by `lib.validation.declared`

    def extra_repr(self):
        said = super().extra_repr()  # of nn.Linear: its features, and whether it has a bias
        plain = vars(self) | self._buffers  # neither parameters nor modules
        settings = {name: plain.get(name) for name in self.declared if f"{name}=" not in said}
        own = [
            f"{name}={value:g}" if isinstance(value, float) else f"{name}={shown(value)}"
            for name, value in settings.items()
            if value is not None
        ]
        return ", ".join([said, *own] if said else own)


class RealTensor(Kind):
    """A tensor of real numbers, or what makes one."""

    allowed = "a tensor of real numbers, or an array or list of them"
    good = torch.ones(2, 3)
    bad = (None, "text", ["a"], object(), 1j, [[1], [1, 2]])

    def check(self, value, name):
        try:
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            self.refuse(value, name, TypeError)
        if tensor.is_complex():
            self.refuse(tensor, name, TypeError)
        return tensor


class FloatTensor(RealTensor):
    """A tensor of real numbers, whole ones in the default dtype of floating-point numbers."""

    def check(self, value, name):
        tensor = super().check(value, name)
        return tensor if tensor.is_floating_point() else tensor.to(torch.get_default_dtype())


class KeepProb(Real):
    """A keep probability, or several in a tensor."""

    def __init__(self):
        super().__init__(0, 1, "(]")
        self.allowed += ", or a tensor of them"
        self.bad += [torch.tensor([0.5, 0.0]), torch.tensor([1.5]), torch.tensor([1, 1])]

    def check(self, value, name):
        if not isinstance(value, torch.Tensor):
            return super().check(value, name)
        if not value.is_floating_point():
            self.refuse(value, name, TypeError)
        inside = self.has(value)
        if not inside.all():
            self.refuse(value[~inside][0].item(), name)
        return value.detach().clone()


REAL_TENSOR, KEEP_PROB = RealTensor(), KeepProb()
FLOAT_TENSOR = FloatTensor()


def check_floating_point(x):
    """Return a tensor whose entries can be scaled by a real number; anything else is an error."""
    if not TENSOR.check(x, "x").is_floating_point():
        raise TypeError(f"x must have a floating-point dtype, got {x.dtype}")
    return x


def without_autocast(x):
    """A context in which products on the device of `x` keep the dtype of their factors.

    Variances need it: half precision, which ``torch.autocast`` would take, is too coarse for
    squares and soon overflows.
    """
    device = x.device.type
    if torch.amp.is_autocast_available(device) and torch.is_autocast_enabled(device):
        return torch.autocast(device, enabled=False)
    return nullcontext()


def single_at_least(dtype):
    """The dtype for squares of numbers of a dtype: single precision in place of half."""
    return torch.promote_types(dtype, torch.float32)


@contextmanager
def modes_restored(model):
    """Give every module of a model its training flag back at the end, after an exception too."""
    before = {module: module.training for module in model.modules()}
    try:
        yield model
    finally:
        for module, training in before.items():
            module.training = training
