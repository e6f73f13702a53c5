"""Monte Carlo samples: a model run many times on the same input, with fresh masks each time."""

import warnings
from collections.abc import Mapping

import torch
from torch import nn
from torch.nn.utils.rnn import PackedSequence
from torch.utils._pytree import tree_flatten, tree_leaves, tree_unflatten

from lib.inference.draws import LOCK, generators_put_back, same_state, set_torch_state, torch_state
from lib.inference.replica import cloned, replica
from lib.inference.sampling import (
    CHOSEN,
    TYPES,
    choose,
    has_other_modules,
    refuse_what_is_missed,
    switch,
)
from lib.layers.base import MODULE
from lib.progress import progress
from lib.validation import COUNT, Flag, Kind, Optional, declared


class Nest(Kind):
    """Tensors, as a model takes them."""

    allowed = "a tensor, a nest of them (lists, tuples, dicts), or a tuple of arguments"
    good = torch.ones(2, 3)
    bad = (None, 0, "text", object(), [], {})

    def check(self, value, name):
        if type(value) is not tuple and not _tensors(value):
            self.refuse(value, name, TypeError)
        return value


class Keywords(Kind):
    """Arguments by name."""

    allowed = "a dict of arguments by name"
    types, becomes, good = Mapping, dict, {}
    bad = (3, "text", [1], {1: 2})

    def has(self, value):
        return all(isinstance(key, str) for key in value)


@declared(
    model=MODULE,
    x=Nest(),
    n_samples=COUNT,
    kwargs=Optional(Keywords()),
    layers=CHOSEN,
    also=TYPES,
    same_masks=Flag(),
    max_rows=COUNT,
)
@torch.no_grad()
def mc_samples(
    model,
    x,
    n_samples,
    *,
    kwargs=None,
    layers="dropout",
    also=(),
    same_masks=False,
    max_rows=10_000,
):
    """Run a model many times on the same input, with fresh masks each time.

    Samples go through the model together, by `torch.vmap`: what comes before the first stochastic
    layer is computed once a chunk, in a ``Sequential`` once in all. A model for which vmap does not
    work, a recurrent one say, runs in a loop, with the same result in distribution.

    What runs is a copy that shares the parameters, a new one for each chunk or sample: the model
    and the input stay as they were, and other threads may use them.

    Parameters
    ----------
    model : torch.nn.Module
        With at least one stochastic layer. Its mode does not matter and is left as it was.
    x : torch.Tensor, shape (batch, ...), or nest or tuple
        The model's argument: a tensor, or tensors in lists and dicts. A tuple is several arguments.
    n_samples : int
    kwargs : dict, optional
        Arguments by name. For a model that takes no others, `x` is ``()``.
    layers : {"dropout", "last", "all"} or list of torch.nn.Module
    also : type or tuple of type
        What samples, as of `sampling`.
    same_masks : bool
        Whether in each sample all examples have the same masks, which makes it a function drawn
        from the posterior. Examples are along the first dimension of the first tensor, and of
        those tensors whose first dimension has its size.
    max_rows : int
        Rows of input in a chunk of samples, at most: it bounds the memory. A vector is a row; so is
        a step of a sequence, a token, or in images, (batch, channels, height, width), a row of
        pixels with all its channels.

    Returns
    -------
    torch.Tensor, shape (n_samples, batch, ...)
        Without gradient. The mean over the samples is the Monte Carlo average. Of a model that
        gives several tensors, in tuples, lists, dicts or what else `torch.utils._pytree` knows, it
        is such a nest of samples.

    Raises
    ------
    ValueError
        If `model` has no stochastic layer; if others of its modules draw random numbers in
        training, and ``layers="dropout"`` would leave them out; if all samples come out equal.

    References
    ----------
    Srivastava et al. (2014), section 7.5; Gal and Ghahramani (2016), section 4.

    Examples
    --------
    >>> from lib.layers import Dropout
    >>> _ = torch.manual_seed(0)
    >>> mc_samples(nn.Sequential(Dropout(0.5)), torch.ones(4), n_samples=3)
    tensor([[2., 0., 2., 0.],
            [2., 0., 2., 2.],
            [0., 2., 0., 0.]])
    """
    _refuse_unready(model)
    chosen = choose(model, layers, also)
    args, kwargs = x if type(x) is tuple else (x,), kwargs or {}
    # vmap sees no masks inside a recurrent layer: the samples would share them
    together = not any(isinstance(layer, nn.RNNBase) and layer.dropout for layer in chosen)
    if layers == "dropout" and has_other_modules(model):
        others_draw = refuse_what_is_missed(model, chosen, args, kwargs)
        together = together and not others_draw  # nor does it know NumPy's generator
    chunk = max(1, max_rows // max(1, _rows((args, kwargs))))
    sizes = [min(chunk, n_samples - done) for done in range(0, n_samples, chunk)]
    rest, args = _past_what_is_fixed(model, chosen, args, kwargs)
    draw = _Drawing(rest, chosen, args, kwargs, same_masks, together and chunk > 1)
    chunks = [draw(size) for size in progress(sizes, "sampling")]
    if n_samples > 1 and _all_equal(chunks):
        _refuse_equal(draw, chunks, model, chosen)
    return draw.nest([torch.cat(parts) for parts in zip(*chunks, strict=True)])


class _Drawing:
    """Draws a number of samples: together, or one by one where that does not work."""

    def __init__(self, model, chosen, args, kwargs, same_masks, together):
        self.model, self.inputs = model, (args, kwargs)
        self.chosen = [module for module in model.modules() if module in set(chosen)]
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
    leaves, structure = tree_flatten((args, kwargs))
    examples = len(_tensors(leaves)[0]) if _tensors(leaves) and _tensors(leaves)[0].dim() else 0
    if examples == 0:
        return model(*args, **kwargs)
    dims = [
        0 if isinstance(x, torch.Tensor) and x.shape[:1] == (examples,) else None for x in leaves
    ]
    own = [leaf for leaf, dim in zip(leaves, dims, strict=True) if dim == 0]
    found = []

    def one(*own):
        own = iter(own)
        parts = [next(own)[None] if d == 0 else x for x, d in zip(leaves, dims, strict=True)]
        args, kwargs = tree_unflatten(parts, structure)
        outputs, of_outputs = tree_flatten(model(*args, **kwargs))
        found[:] = outputs, of_outputs
        return [y.squeeze(0) for y in outputs if isinstance(y, torch.Tensor)]

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


def _past_what_is_fixed(model, chosen, args, kwargs):
    """Run what comes before the first part of a Sequential that samples; return the rest."""
    hooks = model._forward_hooks or model._forward_pre_hooks
    if type(model) is not nn.Sequential or hooks or len(args) != 1 or kwargs:
        return model, args  # only where calling the parts is the same as calling the whole
    samples = [not set(chosen).isdisjoint(part.modules()) for part in model]
    first = samples.index(True) if True in samples else 0
    copy, _ = replica(model[:first])
    switch(copy, [])
    return model[first:], (copy(*cloned(args)),)


def _tensors(nest):
    """The tensors of a nest, with those of packed sequences."""
    leaves = [x.data if isinstance(x, PackedSequence) else x for x in tree_leaves(nest)]
    return [leaf for leaf in leaves if isinstance(leaf, torch.Tensor)]


def _rows(inputs):
    """Rows of the largest input."""
    return max(map(_rows_of, _tensors(inputs)), default=1)


def _rows_of(x):
    if x.dim() == 4:
        return x.shape[0] * x.shape[2]
    is_index = not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)
    return x.numel() if is_index else x.shape[:-1].numel()


OF_VMAP = ("vmap", "functorch", "batching rule", "storage", "batchedtensor")


def _is_of_vmap(error):
    return any(word in str(error).lower() for word in OF_VMAP)


def _refuse_unready(model):
    if any(map(torch.nn.parameter.is_lazy, [*model.parameters(), *model.buffers()])):
        raise ValueError(
            "model must know the shapes of its parameters: run it once before, got "
            f"{type(model).__name__} with some that are not initialized"
        )
    if any("_held" in vars(module) for module in model.modules()):
        raise ValueError(
            "model must be free to draw a mask for each sample, got one inside masks_held"
        )


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


def _all_equal(chunks):
    """Whether no sample differs from the first. An output without entries says nothing."""
    first = [part[0] for part in chunks[0]]
    if not any(part.numel() for part in first):
        return False
    return all(
        bool((part == one).all())
        for parts in chunks
        for part, one in zip(parts, first, strict=True)
    )


ENOUGH = 100  # samples that show that a difference is no matter of chance


def _refuse_equal(draw, chunks, model, chosen):
    """Raise a ValueError, unless further samples differ."""
    first, drawn = [[part[:1] for part in chunks[0]]], False
    with generators_put_back():
        for _ in range(ENOUGH):
            before = torch_state()
            if not _all_equal([*first, draw.one_by_one(1)]):
                return
            drawn = drawn or not same_state(before, torch_state())
            if not drawn:
                break
    names = {module: name or "the model itself" for name, module in model.named_modules()}
    listed = ", ".join(f"{names[each]} ({type(each).__name__})" for each in chosen[:5])
    more = f" and {len(chosen) - 5} more" if len(chosen) > 5 else ""
    why = "no random number was drawn"
    if drawn:
        why = f"random numbers were drawn, but {ENOUGH} more samples are equal too"
    raise ValueError(
        f"model must give samples that differ, got equal ones with {listed}{more} switched to "
        f'training: {why}. Is what drops called, and does the output depend on it? layers="all" '
        "switches everything but normalization, also=... names further classes that drop."
    )
