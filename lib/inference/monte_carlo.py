"""Monte Carlo samples: a model run many times on the same input, with fresh masks each time."""

from collections.abc import Mapping

import torch
from torch import nn

from lib.inference.drawing import Drawing, past_what_is_fixed, tensors_of
from lib.inference.draws import generators_put_back, same_state, torch_state
from lib.inference.sampling import has_other_modules, refuse_what_is_missed
from lib.inference.stochastic import CHOSEN, TYPES, choose
from lib.layers.base import MODULE
from lib.progress import progress
from lib.validation import COUNT, Flag, Kind, Optional, declared


class Nest(Kind):
    """Tensors, as a model takes them."""

    allowed = "a tensor, a nest of them (lists, tuples, dicts), or a tuple of arguments"
    good = torch.ones(2, 3)
    bad = (None, 0, "text", object(), [], {})

    def check(self, value, name):
        if type(value) is not tuple and not tensors_of(value):
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
    rest, args = past_what_is_fixed(model, chosen, args, kwargs)
    draw = Drawing(rest, chosen, args, kwargs, same_masks, together and chunk > 1)
    chunks = [draw(size) for size in progress(sizes, "sampling")]
    if n_samples > 1 and _all_equal(chunks):
        _refuse_equal(draw, chunks, model, chosen)
    return draw.nest([torch.cat(parts) for parts in zip(*chunks, strict=True)])


def _rows(inputs):
    """Rows of the largest input."""
    return max(map(_rows_of, tensors_of(inputs)), default=1)


def _rows_of(x):
    if x.dim() == 4:
        return x.shape[0] * x.shape[2]
    is_index = not (x.is_floating_point() or x.is_complex() or x.dtype == torch.bool)
    return x.numel() if is_index else x.shape[:-1].numel()


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
