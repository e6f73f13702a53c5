"""A fractal block: columns of 1, 2, 4, ... layers, joined where they meet; it drops paths."""

from itertools import islice

import torch
from torch import Tensor, nn

from ..validation import PROBABILITY, SHARE, Flag, Function, Whole, declared
from .base import StochasticLayer
from .draw import keep_mask
from .gates import GATE, at_hand, gate_shape, known
from .join import FractalJoin


class Maker(Function):
    """What makes layers: a class or a function, not a layer."""

    allowed = "a callable that returns a new module"
    good = staticmethod(nn.Identity)
    bad = (*Function.bad, nn.Identity())
    other_types = nn.Module


@declared(
    make_layer=Maker(),
    columns=Whole(1, 10),
    keep_prob=PROBABILITY,
    global_share=SHARE,
    gate=GATE,
    skip=Flag(),
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
    skip : bool
        Whether a global draw for the whole batch computes its column alone. With False all columns
        are computed, and its output is chosen: see *Notes*.

    Shape
    -----
    Input and output: any shape that the layers keep, (batch, ...) for ``gate="example"``.

    Notes
    -----
    With ``gate="batch"`` a global draw computes its column alone; the parameters of the others get
    no gradient (``grad`` stays None). For ``DistributedDataParallel``, which waits for the gradient
    of each, and ``torch.compile(fullgraph=True)`` there is ``skip=False``. With ``gate="example"``,
    under ``torch.vmap`` and in a program that is exported or traced it is never skipped: all
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

    def __init__(
        self, make_layer, columns, keep_prob=0.85, global_share=0.5, gate="batch", *, skip=True
    ):
        super().__init__()
        self.global_share = global_share
        self.skip = skip
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
        gate = self.join.gate
        shape, skips = gate_shape(gate, x), self.skip and gate == "batch"
        is_global = keep_mask(at_hand(x) if skips else x, self.global_share, shape)
        alone = torch.randint(1, len(self.columns) + 1, shape, device=is_global.device)
        drawn = torch.where(is_global > 0, alone, 0)  # 0 where the draw is local
        number = known(drawn) if skips else None
        if number is None:
            return self._all_columns(x, drawn.to(x.device, non_blocking=True))
        return self.column(*number)(x) if any(number) else self._all_columns(x)

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
