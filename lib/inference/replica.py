"""A second model with the parameters of the first, and nothing else in common."""

import copy

import torch
from torch import nn
from torch.utils._pytree import tree_leaves, tree_map

# Who runs another module, faster or on several devices, and under which name it holds it: what is
# copied is what they hold.
WRAPPERS = {
    "_orig_mod": None,  # what torch.compile returns: its class is not imported before it is needed
    "module": (nn.DataParallel, nn.parallel.DistributedDataParallel),
}


def replica(model):
    """Copy a model but for its parameters, which both share; give the copy, and each module's twin.

    Whatever a forward pass of the copy sets, a mode, an attribute, a cache, a buffer, or a hook,
    the model does not see. What can't be copied, a lock or an open file, is shared too.
    """
    modules, memo = list(model.modules()), {}
    for module in modules:
        memo[id(module)] = _empty(module)
    for module in reversed(modules):  # what is wrapped comes before what wraps it
        if (wrapped := _wrapped(module)) is not None:
            memo[id(module)] = memo[id(wrapped)]
    for parameter in model.parameters():
        memo[id(parameter)] = parameter
    for module in modules:
        if _wrapped(module) is None and not isinstance(module, torch.jit.ScriptModule):
            state = {name: _copied(value, memo) for name, value in _state(module).items()}
            memo[id(module)].__setstate__(state)
    return memo[id(model)], {module: memo[id(module)] for module in modules}


def cloned(inputs):
    """Copy what is handed to a model: a forward pass may write into it."""
    return tree_map(lambda x: x.clone() if isinstance(x, torch.Tensor) else _copied(x, {}), inputs)


def _empty(module):
    if isinstance(module, torch.jit.ScriptModule):
        return copy.deepcopy(module)
    return object.__new__(type(module))


def _wrapped(module):
    """The module that another one only wraps, or None."""
    for name, kinds in WRAPPERS.items():
        if name in module._modules and (kinds is None or isinstance(module, kinds)):
            return module._modules[name]
    return None


def _state(module):
    try:
        return module.__getstate__()
    except RuntimeError:  # a module with parametrizations can't be pickled
        return vars(module)


def _copied(value, memo):
    for leaf in tree_leaves(value):
        if isinstance(leaf, torch.Tensor) and leaf.grad_fn is not None:
            memo[id(leaf)] = leaf.detach().clone()  # else an error: it is of some graph
    try:
        return copy.deepcopy(value, memo)
    except Exception:
        return copy.copy(value) if isinstance(value, dict | list | set) else value
