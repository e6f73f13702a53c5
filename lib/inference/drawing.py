"""How samples are drawn: together, by vmap, or one by one where that does not work."""

import warnings

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from lib.inference.draws import LOCK, set_torch_state, torch_state
from lib.inference.replica import cloned, replica
from lib.inference.sampling import switch


class Drawing:
    """Draws a number of samples: together, or one by one where that does not work."""

    def __init__(self, model, chosen, args, kwargs, same_masks, together):
        self.model, self.inputs = model, (args, kwargs)
        chosen = set(chosen)
        self.chosen = [module for module in model.modules() if module in chosen]
        self.run = _with_same_masks if same_masks else _run
        self.together = together
        self.structure, self.constants = None, None

    def __call__(self, size):
        """Tensors of shape (size, ...), the leaves of the output."""
        with LOCK, warnings.catch_warnings():
            # vmap has a rule for most operations, and loops over the others
            warnings.filterwarnings("ignore", "There is a performance drop")
            if self.together:
                state = torch_state()
                try:
                    return self._together(size)
                except torch.OutOfMemoryError:
                    raise
                except RuntimeError as error:
                    self.together, why = False, error
                set_torch_state(state)
                drawn = self.one_by_one(size)  # an error of the model itself comes again
                if not _is_of_vmap(why):
                    warnings.warn(
                        f"samples are drawn one by one: together, {type(self.model).__name__} "
                        f"raised {type(why).__name__}: {why}",
                        stacklevel=4,
                    )
                return drawn
            return self.one_by_one(size)

    def _together(self, size):
        model, args, kwargs = self._copies()
        one = torch.vmap(lambda _: self._leaves(model, args, kwargs), randomness="different")
        return one(torch.arange(size))

    def one_by_one(self, size):
        samples = [self._leaves(*self._copies()) for _ in range(size)]
        return [torch.stack(parts) for parts in zip(*samples, strict=True)]

    def _copies(self):
        model, twins = replica(self.model)
        switch(model, [twins[module] for module in self.chosen])
        return model, *cloned(self.inputs)

    def _leaves(self, model, args, kwargs):
        leaves, structure = tree_flatten(self.run(model, args, kwargs))
        constants = [None if isinstance(leaf, torch.Tensor) else (leaf,) for leaf in leaves]
        if self.structure is None:
            self.structure, self.constants = structure, constants
            _refuse_strange(leaves)
        if (structure, constants) != (self.structure, self.constants):
            raise ValueError(
                "model must give outputs of the same structure, and tensors for all that is "
                f"random, got {structure} with {constants} after {self.structure} with "
                f"{self.constants}"
            )
        return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]

    def nest(self, tensors):
        """The output's structure, with samples in place of its tensors."""
        tensors = iter(tensors)
        leaves = [next(tensors) if each is None else each[0] for each in self.constants]
        return tree_unflatten(leaves, self.structure)


def _run(model, args, kwargs):
    return model(*args, **kwargs)


def _with_same_masks(model, args, kwargs):
    """Run each example alone, from the same random numbers, by vmap where that works."""
    leaves, structure = tree_flatten((args, kwargs), is_leaf=_is_packed)
    sizes = [leaf.shape[:1] for leaf in leaves if isinstance(leaf, torch.Tensor) and leaf.dim()]
    if not sizes:
        raise ValueError(
            "x must have a tensor with a first dimension of examples with same_masks=True, "
            f"got {', '.join(type(leaf).__name__ for leaf in leaves)}"
        )
    if sizes[0] == (0,):
        return model(*args, **kwargs)
    is_own = [isinstance(x, torch.Tensor) and x.shape[:1] == sizes[0] for x in leaves]
    own, found = [leaf for leaf, yes in zip(leaves, is_own, strict=True) if yes], []

    def one(*own):
        own = iter(own)
        parts = [next(own)[None] if yes else x for x, yes in zip(leaves, is_own, strict=True)]
        args, kwargs = tree_unflatten(parts, structure)
        outputs, of_outputs = tree_flatten(model(*args, **kwargs))
        found[:] = outputs, of_outputs
        return [_of_one_example(y) for y in outputs if isinstance(y, torch.Tensor)]

    state = torch_state()
    try:
        tensors = torch.vmap(one, randomness="same")(*own)
    except RuntimeError:
        if torch._C._functorch.peek_interpreter_stack() is not None:
            raise  # the generators are not to be touched by what runs together
        samples = []
        for example in zip(*own, strict=True):
            set_torch_state(state)
            samples.append(one(*example))
        tensors = [torch.stack(parts) for parts in zip(*samples, strict=True)]
    tensors = iter(tensors)
    outputs = [next(tensors) if isinstance(y, torch.Tensor) else y for y in found[0]]
    return tree_unflatten(outputs, found[1])


def _is_packed(x):
    return isinstance(x, PackedSequence)


def _of_one_example(y):
    if y.shape[:1] != (1,):
        raise ValueError(
            "model must give outputs with a first dimension of examples with same_masks=True, "
            f"got shape {tuple(y.shape)} for one example"
        )
    return y[0]


OF_VMAP = ("vmap", "functorch", "batching rule", "storage", "batchedtensor")


def _is_of_vmap(error):
    return any(word in str(error).lower() for word in OF_VMAP)


def _refuse_strange(leaves):
    plain = (torch.Tensor, type(None), bool, int, float, complex, str, torch.dtype, torch.device)
    strange = [leaf for leaf in leaves if not isinstance(leaf, plain)]
    if strange:
        raise TypeError(
            "model must give tensors, or tuples, lists and dicts of them, got a "
            f"{type(strange[0]).__name__}: torch.utils._pytree.register_pytree_node says what is "
            "in it"
        )
    if not any(isinstance(leaf, torch.Tensor) for leaf in leaves):
        raise TypeError(f"model must give at least one tensor, got {leaves}")


def past_what_is_fixed(model, chosen, args, kwargs):
    """Run what comes before the first part of a Sequential that samples; return the rest."""
    hooks = model._forward_hooks or model._forward_pre_hooks
    if type(model) is not nn.Sequential or hooks or len(args) != 1 or kwargs:
        return model, args  # only where calling the parts is the same as calling the whole
    samples = [not set(chosen).isdisjoint(part.modules()) for part in model]
    first = samples.index(True) if True in samples else 0
    copy, _ = replica(model[:first])
    switch(copy, [])
    return model[first:], (copy(*cloned(args)),)


def tensors_of(nest):
    """The tensors of a nest."""
    return [leaf for leaf in tree_leaves(nest) if isinstance(leaf, torch.Tensor)]
