"""What all stochastic layers share."""

from contextlib import contextmanager

from torch import nn


class StochasticLayer(nn.Module):
    """A layer whose output is random in training and deterministic in eval.

    A subclass asks ``self.training`` and nothing else. `lib.inference.sampling` finds the layers
    of this class and switches that flag on them alone, so that they sample while the rest of the
    model stays in eval.
    """


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
        If `x` is not of a floating-point dtype.
    """
    if not x.is_floating_point():
        raise TypeError(f"x must have a floating-point dtype, got {x.dtype}")
    return x
