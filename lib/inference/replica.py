"""A second model with the parameters of the first, and nothing else in common."""

import copy
from collections import OrderedDict
from types import FunctionType

import torch
from torch import nn
from torch.utils._pytree import tree_map

# Who runs another module, faster or on several devices, and under which name it holds it: what is
# copied is what they hold.
WRAPPERS = {
    "_orig_mod": None,  # what torch.compile returns: its class is not imported before it is needed
    "module": (nn.DataParallel, nn.parallel.DistributedDataParallel),
}


UNCHANGING = (type(None), bool, int, float, complex, str, type, FunctionType, torch.dtype)


def replica(model):
    """Copy a model but for its parameters, which both share; give the copy, and each module's twin.

    Whatever a forward pass of the copy sets, a mode, an attribute, a cache, a buffer, or a hook,
    the model does not see. What can't be copied, a lock or an open file, is shared too.
    """
    modules, memo = list(model.modules()), {}
    for module in modules:
        if isinstance(module, torch.jit.ScriptModule):
            if id(module) not in memo:  # else it is a part of one that is copied already
                parts = zip(module.modules(), copy.deepcopy(module).modules(), strict=True)
                memo |= {id(part): twin for part, twin in parts}
        else:
            memo[id(module)] = object.__new__(type(module))
    for module in reversed(modules):  # what is wrapped comes before what wraps it
        if (wrapped := _wrapped(module)) is not None:
            memo[id(module)] = memo[id(wrapped)]
    for parameter in model.parameters():
        memo[id(parameter)] = parameter
    for module in modules:
        if not isinstance(module, torch.jit.ScriptModule) and _wrapped(module) is None:
            state = {name: _copied(value, memo) for name, value in _state(module).items()}
            vars(memo[id(module)]).update(state)
    return memo[id(model)], {module: memo[id(module)] for module in modules}


def cloned(inputs):
    """Copy what is handed to a model: a forward pass may write into it."""
    return tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else _copied(x, {}), inputs)


def _wrapped(module):
    """The module that another one only wraps, or None."""
    for name, kinds in WRAPPERS.items():
        if name in module._modules and (kinds is None or isinstance(module, kinds)):
            return module._modules[name]
    return None


def _state(module):
    """The attributes of a module that are its own: a Lightning module leaves its trainer out."""
    pickled = type(module).__getstate__
    state = vars(module) if pickled.__module__.startswith("torch.nn.") else module.__getstate__()
    return {name: value for name, value in state.items() if name != "_compiled_call_impl"}


def _copied(value, memo):
    """Copy a value as `copy.deepcopy` does, but faster, and also what holds something it can't."""
    if id(value) in memo:
        return memo[id(value)]
    if isinstance(value, UNCHANGING):
        return value
    kind = type(value)
    if kind in (dict, OrderedDict):
        memo[id(value)] = copied = kind()
        copied.update((_copied(key, memo), _copied(each, memo)) for key, each in value.items())
    elif kind is list:
        memo[id(value)] = copied = []
        copied.extend(_copied(each, memo) for each in value)
    elif kind is tuple:
        copied = tuple(_copied(each, memo) for each in value)
    elif isinstance(value, torch.Tensor) and value.grad_fn is not None:  # it is of some graph
        memo[id(value)] = copied = value.detach().clone()
    else:
        try:
            copied = copy.deepcopy(value, memo)
        except Exception:
            copied = value
    return copied
