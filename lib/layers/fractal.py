"""Drop-path: a join takes the mean of those of its paths that survive, and one always does."""

from itertools import islice

import torch
from torch import Tensor, nn

from lib.layers.base import GATE, TENSOR, StochasticLayer, gate_shape
from lib.layers.draw import keep_mask
from lib.validation import PROBABILITY, SHARE, Function, Many, Whole, declared

PATHS = Many(TENSOR)


@declared(keep_prob=PROBABILITY, gate=GATE)
class FractalJoin(StochasticLayer):
    r"""Join parallel paths by their mean; in training, by the mean of those that survive.

    With :math:`x_1, \dots, x_k` the paths, gates :math:`b_i \sim \text{Bernoulli}(p)`, and p the
    probability to keep a path:

    ============  =======================================================
    training      :math:`\sum_i b_i x_i \,/\, \sum_i b_i`
    eval          :math:`\sum_i x_i \,/\, k`
    ============  =======================================================

    If all gates are 0, one of the k is opened, each with the same probability. No path is
    preferred, so each has the mean weight 1/k *exactly*, whatever p: for given paths eval is the
    mean of training, and no factor p is needed. timm's ``DropPath`` is another thing:
    `StochasticDepth`.

    Parameters
    ----------
    keep_prob : float
        Probability to KEEP a path, in (0, 1]. The authors drop 15 %: 0.85.
    gate : {"batch", "example"}
        One draw for the whole mini-batch, as in the authors' code, or one for each example.

    Shape
    -----
    Input: a sequence of tensors of one shape (else a ValueError), (batch, ...) for
    ``gate="example"``, or one tensor that stacks them, (paths, batch, ...). Output: the shape of a
    path. Any floating-point dtype (another one is a TypeError in training).

    References
    ----------
    Larsson et al. (2017), *FractalNet: ultra-deep neural networks without residuals*, ICLR:
    "local" drop-path. The layer ``FractalJoin`` of the authors' code, gustavla/fractalnet.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> join, paths = FractalJoin(0.5, gate="example"), (torch.zeros(6), torch.ones(6))
    >>> join(paths)
    tensor([0.5000, 0.0000, 0.5000, 1.0000, 0.0000, 1.0000])
    >>> join.eval()(paths)
    tensor([0.5000, 0.5000, 0.5000, 0.5000, 0.5000, 0.5000])
    """

    def __init__(self, keep_prob=0.85, gate="batch"):
        super().__init__()
        self.keep_prob = keep_prob
        self.gate = gate

    def forward(self, paths) -> Tensor:
        paths = PATHS.check(paths, "paths")
        k, shapes = len(paths), [tuple(path.shape) for path in paths]
        if len(set(shapes)) != 1:
            raise ValueError(f"paths must be tensors of one shape, got {shapes}")
        shape = gate_shape(self.gate, paths[0], "paths")
        if k == 1:
            return paths[0]
        if self.keep_prob == 1 or not self.training:
            return sum(paths) / k
        gates = keep_mask(paths[0], self.keep_prob, (k, *shape))
        lucky = torch.randint(k, shape, device=gates.device)  # survives where no other path does
        is_lucky = torch.arange(k, device=gates.device).view(k, *(1 for _ in shape)) == lucky
        gates = torch.where(gates.sum(dim=0) > 0, gates, is_lucky.to(gates.dtype))
        return sum(b * x for b, x in zip(gates, paths, strict=True)) / gates.sum(dim=0)


class Maker(Function):
    """What makes layers: a class or a function, not a layer."""

    allowed = "a callable that returns a new module"
    good = staticmethod(nn.Identity)
    bad = (*Function.bad, nn.Identity())
    other_types = nn.Module


@declared(
    make_layer=Maker(), columns=Whole(1, 10), keep_prob=PROBABILITY, global_share=SHARE, gate=GATE
)
class FractalBlock(StochasticLayer):
    r"""A fractal block: columns of 1, 2, 4, ... layers that are joined wherever they meet.

    With :math:`\oplus` the join and f a layer,

    .. math:: f_1(z) = f(z), \qquad f_{C+1}(z) = (f_C \circ f_C)(z) \oplus f(z),

    each layer with weights of its own. Column c has :math:`2^{c-1}` layers, the block
    :math:`2^C - 1`. Joins that follow one another are one join of all their paths.

    ============  =======================================================================
    training      *global* with probability `global_share`: one column, drawn uniformly, and
                  nothing else; otherwise *local*: all columns, and each join drops paths
    eval          all columns, and each join takes the mean
    column c      that column alone, in every mode
    ============  =======================================================================

    Parameters
    ----------
    make_layer : callable
        Takes nothing, and returns a new layer at each call, a module whose output has the shape of
        its input (put one that changes it before the block). It must not change its input in place,
        which the columns share.
    columns : int
        Number C of columns, from 1 to 10.
    keep_prob : float
        Probability to KEEP a path into a join when it is local, in (0, 1].
    global_share : float
        Probability that a draw is global, in [0, 1]. Half is how re-implementations read the paper.
    gate : {"batch", "example"}
        As of `FractalJoin`.

    Shape
    -----
    Input and output: any shape that the layers keep, (batch, ...) for ``gate="example"``.

    Notes
    -----
    With ``gate="batch"`` a global draw computes its column alone; the parameters of the others get
    no gradient (``grad`` stays None). With ``gate="example"``, and under ``torch.vmap``, all
    columns are computed, and what was not drawn is left out afterwards.

    Each block draws a column of its own. In a network of several blocks the paper draws one for
    all: draw it in the network's `forward`, and hand it to the blocks as `column`.

    References
    ----------
    Larsson et al. (2017), as of `FractalJoin`. They have not published code of global drop-path.

    Examples
    --------
    >>> block = FractalBlock(lambda: nn.Linear(4, 4), columns=3)
    >>> [len(column) for column in block.columns]
    [1, 2, 4]
    >>> x = torch.ones(5, 4)
    >>> bool(torch.equal(block(x, column=2), block.column(2)(x)))
    True
    """

    def __init__(self, make_layer, columns, keep_prob=0.85, global_share=0.5, gate="batch"):
        super().__init__()
        self.global_share = global_share
        self.join = FractalJoin(keep_prob, gate)  # without weights: one serves all places
        layers = _new_layers(make_layer)
        self.columns = nn.ModuleList(nn.Sequential(*islice(layers, 2**c)) for c in range(columns))

    def column(self, c):
        """Return column c, from 1, the shallowest, as a network with the weights of the block."""
        return self.columns[Whole(1, len(self.columns)).check(c, "column") - 1]

    def forward(self, x: Tensor, column=None) -> Tensor:
        if column is not None:
            return self.column(column)(x)
        if not self.training or self.global_share == 0:
            return self._all_columns(x)
        shape = gate_shape(self.join.gate, x)
        is_global = keep_mask(x, self.global_share, shape)
        alone = torch.randint(1, len(self.columns) + 1, shape, device=x.device)
        drawn = torch.where(is_global > 0, alone, 0)  # 0 where the draw is local
        if self.join.gate == "example":
            return self._all_columns(x, drawn)
        try:
            c = int(drawn)
        except RuntimeError:  # under vmap, where each model has its own
            return self._all_columns(x, drawn)
        return self.column(c)(x) if c else self._all_columns(x)

    def _all_columns(self, x, drawn=None):
        """From the first to the last step of the deepest column, which has a layer in each."""
        n = len(self.columns)
        inputs = dict.fromkeys(range(1, n + 1), x)  # of each column's next layer
        for step in range(1, 2 ** (n - 1) + 1):
            paths = {}  # by column, those that end here
            for c, column in enumerate(self.columns, start=1):
                span = 2 ** (n - c)  # steps that a layer of column c takes
                if step % span == 0:
                    paths[c] = column[step // span - 1](inputs[c])
            y = self.join(paths.values())
            if drawn is not None:
                for c, path in paths.items():
                    alone = (drawn == c).view(gate_shape(self.join.gate, path))
                    y = torch.where(alone, path, y)
            inputs |= dict.fromkeys(paths, y)
        return y


def _new_layers(make_layer):
    """What make_layer returns, call by call: modules, each a new one."""
    seen = set()
    while True:
        layer = make_layer()
        if not isinstance(layer, nn.Module):
            raise TypeError(
                "make_layer must return a torch.nn.Module, "
                f"got {layer!r} of type {type(layer).__name__}"
            )
        if layer in seen:
            raise ValueError(
                f"make_layer must return a new module at each call, got {layer!r} a second time"
            )
        seen.add(layer)
        yield layer
