"""Many small networks at once: stacked, trained together, taken apart again."""

import copy
import functools
import types

import numpy as np
import torch
from torch import nn
from torch.nn.utils.parametrize import type_before_parametrizations

from lib.datasets import Split
from lib.datasets.splits import SPLIT
from lib.layers.base import MODULE
from lib.training import History, fit, seed_everything
from lib.validation import Flag, Function, Many, check_shapes, declared


@declared(build=Function(), splits=Many(SPLIT), side_by_side=Flag())
def train_seeds(build, splits, *, side_by_side=True, **settings):
    """Train a network for each seed: network i from seed i, on split i.

    Parameters
    ----------
    build : callable
        Takes nothing, returns a network. It is called after `seed_everything`.
    splits : iterable of lib.datasets.Split
        Data for the seeds 0, 1, ...; of equal sizes if they are trained together.
    side_by_side : bool
        Train small networks together, which is faster, or one after the other.
    **settings
        For `lib.training.fit`.

    Returns
    -------
    nets : list of torch.nn.Module
        In eval mode.
    history : lib.training.History
        A row an epoch, a column a seed.

    Examples
    --------
    >>> from lib.datasets import load_digits
    >>> splits = [load_digits(50, 0, 10, seed) for seed in range(3)]
    >>> nets, history = train_seeds(lambda: nn.Linear(64, 10), splits, epochs=2)
    >>> len(nets), history.test_error.shape
    (3, torch.Size([2, 3]))
    """
    if side_by_side:
        stack = SideBySide.from_seeds(build, range(len(splits)))
        history = fit(stack, stack_splits(splits), **settings)
        return [net.eval() for net in stack.unstack()], history
    nets, histories = [], []
    for seed, split in enumerate(splits):
        seed_everything(seed)
        net = build()
        histories.append(fit(net, split, **settings))
        nets.append(net.eval())
    columns = zip(*histories, strict=True)
    return nets, History(*(torch.stack(column, dim=-1) for column in columns))


@declared(models=Many(MODULE))
class SideBySide(nn.Module):
    """Several networks of one architecture, computed together in the time of a few.

    Small networks leave a processor idle. Here their weights are stacked, (nets, out, in), and
    `torch.vmap` adds the dimension to every operation. The networks share nothing: each has its own
    weights, masks, data and order of data.

    Parameters
    ----------
    models : sequence of torch.nn.Module
        Networks of the same architecture, settings and mode. They are copied.

    Shape
    -----
    Input (nets, batch, ...), output (nets, batch, ...).

    Raises
    ------
    ValueError
        If the `models` differ in architecture, settings, hooks or mode, or hold themselves; in
        `forward`, if the input is not for that many networks.

    Examples
    --------
    >>> nets = SideBySide([nn.Linear(4, 2), nn.Linear(4, 2), nn.Linear(4, 2)])
    >>> nets(torch.zeros(3, 10, 4)).shape
    torch.Size([3, 10, 2])
    """

    def __init__(self, models):
        super().__init__()
        for other in models:
            try:
                what = _difference(models[0], other)
            except RecursionError:
                raise ValueError(
                    "models must be networks that do not hold themselves, as a part or in a "
                    f"setting, got a {type(other).__name__} that does"
                ) from None
            if what:
                raise ValueError(
                    "models must be networks of one architecture with the same settings, "
                    f"got two that differ in {what}"
                )
        parameters, buffers = torch.func.stack_module_state(models)
        self.n_nets = len(models)
        self.net = copy.deepcopy(models[0])  # the architecture; its weights become the stacks
        _replace_state(self.net, parameters | buffers)

    @classmethod
    def from_seeds(cls, build, seeds):
        """Build a network for each seed, with first weights of its own.

        Parameters
        ----------
        build : callable
            As of `train_seeds`.
        seeds : iterable of int
        """
        models = []
        for seed in seeds:
            seed_everything(seed)
            models.append(build())
        return cls(models)

    def forward(self, x):
        allowed = f"({self.n_nets}, batch, ...), a batch for each network"
        check_shapes(x.shape[:1] == (self.n_nets,), allowed, x=x)

        def one_net(state, x):
            return torch.func.functional_call(self.net, state, (x,))

        return torch.vmap(one_net, randomness="different")(_state(self.net), x)

    @torch.no_grad()
    def unstack(self):
        """Return the networks one by one, a list of copies with no link to the stack."""
        nets = [copy.deepcopy(self.net) for _ in range(self.n_nets)]
        for i, net in enumerate(nets):
            _replace_state(net, {name: stack[i].clone() for name, stack in _state(net).items()})
        return nets


def _state(net, **which):
    return dict(net.named_parameters(**which)) | dict(net.named_buffers(**which))


def _replace_state(net, tensors):
    """Put tensors, of another shape perhaps, in all places of parameters and buffers."""
    places, new = _state(net, remove_duplicate=False), {}
    for name, tensor in tensors.items():
        old = places[name]
        if isinstance(old, nn.Parameter):
            tensor = nn.Parameter(tensor, requires_grad=old.requires_grad)
        new[old] = tensor
    for name, old in places.items():
        owner, _, leaf = name.rpartition(".")
        setattr(net.get_submodule(owner), leaf, new[old])


INTERNAL = vars(nn.Module()).keys() - {"training"}  # hooks, tensors, parts
HOOKS = sorted(key for key in INTERNAL if key.startswith(("_forward", "_backward")))


def _settings(net):
    """Classes, parts, modes, settings, hooks, shapes and shared tensors of a network, by name."""
    tensors, first = _state(net, remove_duplicate=False), {}
    settings = {"the tensors": [first.setdefault(each, name) for name, each in tensors.items()]}
    for name, module in net.named_modules(prefix="the network"):
        settings[name] = type_before_parametrizations(module)
        settings[f"the parts of {name}"] = list(module._modules)
        for key, value in vars(module).items():
            if key not in INTERNAL:
                settings[f"{name}.{key}"] = value
        of_torch = [number for key in HOOKS for number in vars(module)[key]]
        for key in HOOKS:
            hooks = vars(module)[key].items()
            settings[f"{name}.{key}"] = [(of_torch.index(number), hook) for number, hook in hooks]
        for key, tensor in (module._parameters | module._buffers).items():
            if tensor is not None:
                tensor = (tuple(tensor.shape), tensor.dtype, tensor.requires_grad)
            settings[f"{name}.{key}"] = tensor
    return settings


def _difference(one, other):
    """Say what two networks do not have in common besides their weights; None if nothing."""
    settings, others = _settings(one), _settings(other)
    for key in settings | others:
        if key not in settings or key not in others or not _alike(settings[key], others[key]):
            return f"{key}: {settings.get(key)!r} and {others.get(key)!r}"
    return None


def _alike(a, b):
    """Whether two settings do the same: functions by their code, containers by their entries."""
    if a is b:
        return True
    if type(a) is not type(b):
        return False
    if isinstance(a, torch.Tensor | np.ndarray):
        return a.dtype == b.dtype and a.shape == b.shape and bool((a == b).all())
    if isinstance(a, dict):
        return a.keys() == b.keys() and all(_alike(a[key], b[key]) for key in a)
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(_alike, a, b))
    if isinstance(a, functools.partial):
        return _alike((a.func, a.args, a.keywords), (b.func, b.args, b.keywords))
    if isinstance(a, types.FunctionType):
        cells = ([cell.cell_contents for cell in f.__closure__ or ()] for f in (a, b))
        defaults = ((f.__defaults__, f.__kwdefaults__) for f in (a, b))
        return a.__code__ == b.__code__ and _alike(*cells) and _alike(*defaults)
    return bool(a == b) or bool(a != a and b != b)  # NaN is like NaN


@declared(splits=Many(SPLIT))
def stack_splits(splits):
    """Put data sets of equal sizes side by side: one, with a first dimension of networks.

    Parameters
    ----------
    splits : iterable of lib.datasets.Split
    """
    return Split(*(torch.stack(parts) for parts in zip(*splits, strict=True)))
