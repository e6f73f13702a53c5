"""Masks that stay the same from call to call."""

from contextlib import contextmanager
from types import MethodType

import torch
from torch.utils._python_dispatch import TorchDispatchMode
from torch.utils._pytree import tree_leaves

from lib.inference.draws import LOCK, same_state, set_torch_state, torch_state
from lib.inference.stochastic import CHOSEN, TYPES, choose
from lib.layers.base import MODULE
from lib.validation import declared


@declared(model=MODULE, layers=CHOSEN, also=TYPES)
@contextmanager
def masks_held(model, *, layers="dropout", also=()):
    """Let a model's stochastic layers repeat, at every call, the masks of their first call.

    For one function drawn from the posterior on several inputs of the same shape, and for step by
    step decoding, where a step is a call of the model. On leaving, the layers draw anew. It
    switches nothing on: in training it holds what training draws, and inside `sampling` what that
    samples.

    Parameters
    ----------
    model : torch.nn.Module
        It is also what the ``with`` statement gives.
    layers : {"dropout", "last", "all"} or list of torch.nn.Module
    also : type or tuple of type
        What holds its masks, as of `sampling`.

    Raises
    ------
    ValueError
        If there is nothing to hold. At a call, if a layer draws other numbers than at its first
        one, for a batch of another size say; or if something else in the model drew.

    Notes
    -----
    What is held is not the masks but where torch's generator stood, so a layer draws them anew, at
    the same cost, and gradients are right. A layer that the model calls several times in a pass has
    masks for each of these places; outside of a pass of the model each call is the first one.

    Examples
    --------
    >>> from lib.inference import sampling
    >>> from lib.layers import Dropout
    >>> model, x = torch.nn.Sequential(Dropout(0.5)).eval(), torch.ones(1000)
    >>> with sampling(model), masks_held(model):
    ...     first, second = model(x), model(2 * x)
    >>> bool(torch.equal(second, 2 * first))
    True
    """
    chosen = choose(model, layers, also)
    if any("_held" in vars(module) for module in model.modules()):
        raise ValueError("model must not be inside masks_held already, got one that is")
    parts = [module for module in chosen if module is not model]
    whole = _Pass(draws=model in chosen)
    try:
        for module in parts:
            _wrap(module, _Places(whole))
        _wrap(model, whole)
        yield model
    finally:
        for module in (*parts, model):
            _unwrap(module)


def _wrap(module, held):
    module._held = held, vars(module).get("forward")
    module.forward = MethodType(_forward, module)


def _unwrap(module):
    if "_held" in vars(module):
        _, own = vars(module).pop("_held")
        del module.forward
        if own is not None:
            module.forward = own


def _forward(module, *args, **kwargs):
    held, own = module._held
    run = own or MethodType(type(module).forward, module)
    with LOCK:
        return held.run(module, lambda: run(*args, **kwargs))


class _Places:
    """What a layer drew at each place of a pass."""

    def __init__(self, whole):
        self.whole, self.places = whole, []
        whole.parts.append(self)
        self.next = 0

    def run(self, module, forward):
        """Run the layer, as at its first call at this place."""
        whole, place = self.whole, self.next if self.whole.running else 0
        self.next += 1
        before = torch_state()
        if place == len(self.places):
            output, drawn = self._run(forward, before)
            self.places.append((before, drawn))
            whole.grew = True
            return output
        start, expected = self.places[place]
        set_torch_state(start)
        try:
            output, drawn = self._run(forward, start)
        finally:
            if whole.depth == 0:  # else the rest of the outer layer goes on from where this ends
                set_torch_state(before)
        if drawn != expected:
            raise ValueError(
                f"x must have the shape that it had when the masks of {module!r} were drawn, got "
                f"draws of {drawn} after {expected}"
            )
        return output

    def _run(self, forward, start):
        self.whole.depth += 1
        try:
            with _Drawn() as drawn:
                output = forward()
        finally:
            self.whole.depth -= 1
        # some operations could draw, and did not: attention without dropout, say
        return output, [] if same_state(start, torch_state()) else drawn.what


class _Pass:
    """A pass through the whole model."""

    def __init__(self, draws):
        self.parts = []  # the layers, each with its places
        self.own = _Places(self) if draws else None  # what the model draws itself
        self.calls, self.running = 0, False
        self.depth = 0  # how many layers are running, one inside the other
        self.grew = False  # whether a layer was at a new place

    def run(self, module, forward):
        """Run the model: each layer is at its first place."""
        if self.running:
            return forward()
        for part in self.parts:
            part.next = 0
        self.running, self.grew, before = True, False, torch_state()
        try:
            output = self.own.run(module, forward) if self.own else forward()
        finally:
            self.running = False
        self.calls += 1
        if self.calls > 1 and not self.grew and not same_state(before, torch_state()):
            raise ValueError(
                "model must draw in the layers whose masks are held, got one in which something "
                'else draws: also=... names its class, layers="all" holds everything'
            )
        return output


class _Drawn(TorchDispatchMode):
    """Notes down what is drawn: operations and the shapes of their results."""

    def __init__(self):
        super().__init__()
        self.what = []

    def __torch_dispatch__(self, operation, types, args=(), kwargs=None):
        result = operation(*args, **(kwargs or {}))
        if torch.Tag.nondeterministic_seeded in operation.tags:
            shapes = [tuple(leaf.shape) for leaf in tree_leaves(result) if torch.is_tensor(leaf)]
            self.what.append((operation.__name__, shapes))
        return result
