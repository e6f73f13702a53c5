"""A switch for the dropout of a model alone, and a look at what else would draw."""

import threading
import warnings
from contextlib import contextmanager
from weakref import WeakKeyDictionary

import torch
from torch import nn

from lib.inference.draws import drawing, generators_put_back
from lib.inference.replica import cloned, replica
from lib.inference.stochastic import CHOSEN, TYPES, choose
from lib.layers import StochasticLayer
from lib.layers.base import MODULE
from lib.validation import declared


@declared(model=MODULE, layers=CHOSEN, also=TYPES)
@contextmanager
def sampling(model, *, layers="dropout", also=()):
    """Let a model's dropout sample, with everything else in eval.

    ``model.train()`` would switch batch normalization to batch statistics too, and change the
    stored ones. On leaving, every module gets its former mode back, after an exception too, and
    when blocks of several threads overlap. Until then, other threads see the model sample:
    `mc_samples` doesn't touch it.

    Parameters
    ----------
    model : torch.nn.Module
        It is also what the ``with`` statement gives.
    layers : {"dropout", "last", "all"} or list of torch.nn.Module
        What samples: all `stochastic_layers`; the last of these alone, in the order in which the
        model defines them; everything but normalization, so that dropout by a function of a module
        that asks ``self.training`` is reached; or the modules of a list.
    also : type or tuple of type
        As of `stochastic_layers`.

    Raises
    ------
    ValueError
        If there is nothing to switch. With ``layers="dropout"`` also, at the first call of the
        model, if something else draws random numbers in training, by ``F.dropout`` say.

    Notes
    -----
    In eval mode ``nn.TransformerEncoderLayer`` takes a fast path that reads the weights of its
    parts and does not call them: a layer put in their place, ours say, is skipped. Here the fast
    path is off. Elsewhere, ``torch.backends.mha.set_fastpath_enabled(False)`` switches it off.

    To look for what draws, the model runs once in training mode, as a copy that shares its
    parameters. Models of torch's and our layers alone are spared that.

    References
    ----------
    Gal and Ghahramani (2016), *Dropout as a Bayesian approximation*, ICML, section 4.

    Examples
    --------
    >>> from lib.layers import Dropout
    >>> model = nn.Sequential(nn.Linear(4, 8), nn.BatchNorm1d(8), Dropout(0.5)).eval()
    >>> with sampling(model):
    ...     model[1].training, model[2].training
    (False, True)
    >>> model[2].training
    False
    """
    chosen = choose(model, layers, also)

    def check(module, args, kwargs):
        handle.remove()
        if torch._C._functorch.peek_interpreter_stack() is None:
            refuse_what_is_missed(model, chosen, args, kwargs)

    handle = None
    with _modes_kept(model):
        switch(model, chosen)
        if layers == "dropout" and has_other_modules(model):
            handle = model.register_forward_pre_hook(check, with_kwargs=True)
        try:
            yield model
        finally:
            if handle is not None:
                handle.remove()


def switch(model, chosen):
    """Put the chosen modules into training mode, and all others into eval."""
    model.eval()
    for module in chosen:
        module.training = True  # this module alone, not what it contains
    for module in model.modules():
        if isinstance(module, nn.TransformerEncoderLayer) or (
            isinstance(module, nn.MultiheadAttention) and module.dropout == 0
        ):
            module.training = True  # they ask this for their fast path only


def has_other_modules(model):
    """Whether there are modules that are neither torch's nor ours: they might draw."""
    ours = StochasticLayer.__module__.rpartition(".")[0]
    known = tuple(f"{package}." for package in ("torch.nn", ours))
    return not all(type(module).__module__.startswith(known) for module in model.modules())


# Their noise is that of an activation, or of pooling.
NO_DROPOUT = (nn.RReLU, nn.FractionalMaxPool2d, nn.FractionalMaxPool3d)


def refuse_what_is_missed(model, chosen, args, kwargs):
    """Raise a ValueError if modules that were not chosen draw in training.

    Return whether something draws numbers that are not torch's.
    """
    copy, twins = replica(model)
    switch(copy, [twins[module] for module in choose(model, "all", ())])
    try:
        with torch.no_grad(), generators_put_back():
            found, others_draw = drawing(copy, cloned(args), cloned(kwargs))
    except Exception as error:  # some models need more in training: what they are to find, say
        warnings.warn(
            "whether all that drops in training is sampled could not be checked: the model failed "
            f"in training mode with {type(error).__name__}: {error}. With layers=[...], a list of "
            "modules, nothing is checked.",
            stacklevel=4,
        )
        return False
    known = {twins[module] for module in chosen}
    names = {twins[module]: name or "the model itself" for name, module in model.named_modules()}
    missed = [each for each in found if each not in known and not isinstance(each, NO_DROPOUT)]
    if missed:
        listed = ", ".join(f"{names[each]} ({type(each).__name__})" for each in missed[:5])
        more = f" and {len(missed) - 5} more" if len(missed) > 5 else ""
        kinds = ", ".join(sorted({type(each).__name__ for each in missed}))
        raise ValueError(
            "model must drop in layers that are found, got modules that draw random numbers in "
            f"training and would not here: {listed}{more}. To sample them too, name their classes, "
            f'also=({kinds},), or switch everything but normalization, layers="all". To leave '
            "them as in eval, say so: layers=stochastic_layers(model)."
        )
    return others_draw


# Blocks of several threads may end in any order. Each module has a list of the blocks that it is
# in, each with the mode that was there before.
_BLOCKS, _LOCK = WeakKeyDictionary(), threading.Lock()


@contextmanager
def _modes_kept(model):
    """Give every module its training flag back at the end, and to no other block that goes on."""
    block, modules = object(), list(model.modules())
    with _LOCK:
        for module in modules:
            _BLOCKS.setdefault(module, []).append([block, module.training])
    try:
        yield
    finally:
        with _LOCK:
            for module in modules:
                _leave(module, block)


def _leave(module, block):
    blocks = _BLOCKS[module]
    place = next(i for i, (each, _) in enumerate(blocks) if each is block)
    _, before = blocks.pop(place)
    if place == len(blocks):
        module.training = before
    else:
        blocks[place][1] = before  # the block that came after goes on
