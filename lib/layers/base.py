"""What all stochastic layers share."""

from contextlib import contextmanager

import torch
from torch import nn

from lib.validation import PROBABILITY, Instance, Kind, OneOf

MODULE = Instance(nn.Module, "a torch.nn.Module", nn.Identity)
TENSOR = Instance(torch.Tensor, "a torch.Tensor", lambda: torch.ones(2, 3))


class RealTensor(Kind):
    """A tensor of real numbers, or what makes one."""

    allowed = "a tensor of real numbers, or an array or list of them"
    bad = (None, "text", ["a"], object(), 1j, [[1], [1, 2]])

    @property
    def good(self):
        return torch.ones(2, 3)

    def check(self, value, name):
        try:
            tensor = torch.as_tensor(value)
        except (TypeError, ValueError, RuntimeError):
            self.refuse(value, name, TypeError)
        if tensor.is_complex():
            self.refuse(tensor, name, TypeError)
        return tensor


REAL_TENSOR = RealTensor()
GATE = OneOf("batch", "example")  # one draw for the whole batch, or one for each example


class StochasticLayer(nn.Module):
    """A layer whose output is random in training and deterministic in eval.

    A subclass asks ``self.training`` and nothing else. `lib.inference.sampling` finds the layers
    of this class and switches that flag on them alone, so that they sample while the rest of the
    model stays in eval.
    """


class KeepProb(Kind):
    """A keep probability, or several in a tensor."""

    allowed = "a number in (0, 1], or a tensor of them"
    good = 0.5
    bad = (*PROBABILITY.bad, torch.tensor([0.5, 0.0]), torch.tensor([1, 1]))

    def check(self, value, name):
        if not isinstance(value, torch.Tensor):
            try:
                return PROBABILITY.check(value, name)
            except (TypeError, ValueError) as error:
                self.refuse(value, name, type(error))
        if not value.is_floating_point():
            self.refuse(value, name, TypeError)
        inside = (value > 0) & (value <= 1)
        if not inside.all():
            self.refuse(value[~inside].flatten()[0].item(), name)
        return value.detach().clone()


KEEP_PROB = KeepProb()


def set_keep_prob(layer, keep_prob):
    """Store a keep probability: a tensor goes along to other devices, but not into a state dict."""
    if isinstance(keep_prob, torch.Tensor):
        layer.register_buffer("keep_prob", keep_prob, persistent=False)
    else:
        layer.keep_prob = keep_prob


def keeps_all(keep_prob):
    """Whether nothing is ever dropped; of several probabilities in a tensor it is not asked."""
    return not isinstance(keep_prob, torch.Tensor) and keep_prob == 1


def in_words(keep_prob):
    """A keep probability, or the shape of several, for a layer's printed form."""
    if isinstance(keep_prob, torch.Tensor):
        return f"tensor of shape {tuple(keep_prob.shape)}"
    return f"{keep_prob:g}"


@contextmanager
def modes_restored(model):
    """Give every module of a model its training flag back at the end, after an exception too.

    Parameters
    ----------
    model : torch.nn.Module

    Yields
    ------
    torch.nn.Module
        The model.
    """
    before = {module: module.training for module in model.modules()}
    try:
        yield model
    finally:
        for module, training in before.items():
            module.training = training


def check_floating_point(x):
    """Return a tensor whose entries can be scaled by a real number.

    Parameters
    ----------
    x : torch.Tensor

    Returns
    -------
    torch.Tensor

    Raises
    ------
    TypeError
        If `x` is no tensor, or not of a floating-point dtype.
    """
    if not TENSOR.check(x, "x").is_floating_point():
        raise TypeError(f"x must have a floating-point dtype, got {x.dtype}")
    return x
