"""Drop-path: a join takes the mean of those of its paths that survive, and one always does."""

import torch
from torch import Tensor, nn

from lib.layers.base import GATE, TENSOR, StochasticLayer
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

    If all gates are 0, one of the k is opened, each with the same probability: a join never loses
    all its paths. No path is preferred, so that each has the mean weight 1/k *exactly*, whatever
    p. Hence for given paths eval is the mean of training, and no factor p is needed.

    Parameters
    ----------
    keep_prob : float
        Probability to KEEP a path, in (0, 1]. The authors drop 15 %: 0.85.
    gate : {"batch", "example"}
        One draw for the whole mini-batch, as in the authors' code, or one for each example.

    Shape
    -----
    `forward` takes a sequence of one or more tensors of one shape, (batch, ...) for
    ``gate="example"``, or one tensor that holds them stacked, (paths, batch, ...). The output has
    the shape of one path.

    Raises
    ------
    TypeError
        In training, if the paths are not of a floating-point dtype.
    ValueError
        In `forward`, if there is no path, or the paths differ in shape, or have no first dimension
        for the gates of the examples.

    Notes
    -----
    It is not timm's ``DropPath``, which is stochastic depth: see `StochasticDepth`.

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
        paths = self._checked(paths)
        if len(paths) == 1:
            return paths[0]
        if self.keep_prob == 1 or not self.training:
            return sum(paths) / len(paths)
        gates = self._survivors(paths)  # (paths, batch, 1, ...) or (paths, 1, ...)
        return sum(b * x for b, x in zip(gates, paths, strict=True)) / gates.sum(dim=0)

    def _survivors(self, paths):
        """Gates of 0 and 1, never all 0."""
        k, x = len(paths), paths[0]
        shape = (k, *_gate_shape(self.gate, x))
        gates = keep_mask(x, self.keep_prob, shape)
        lucky = torch.randint(k, shape[1:], device=x.device)
        places = torch.arange(k, device=x.device).view(k, *(1 for _ in shape[1:]))
        return torch.where(gates.sum(dim=0) > 0, gates, (places == lucky).to(gates.dtype))

    def _checked(self, paths):
        paths = PATHS.check(paths, "paths")
        shapes = [tuple(path.shape) for path in paths]
        if len(set(shapes)) != 1:
            raise ValueError(f"paths must be tensors of one shape, got {shapes}")
        if self.gate == "example" and len(shapes[0]) == 0:
            raise ValueError('paths must have a first dimension of examples with gate="example"')
        return paths

    def extra_repr(self):
        return f"keep_prob={self.keep_prob:g}, gate={self.gate!r}"


class Maker(Function):
    """What makes layers: a class or a function, not a layer."""

    allowed = "a callable that returns a new module"
    good = staticmethod(nn.Identity)
    bad = (*Function.bad, nn.Identity())

    def check(self, value, name):
        if isinstance(value, nn.Module):
            self.refuse(value, name, TypeError)
        return super().check(value, name)


@declared(
    make_layer=Maker(),
    columns=Whole(1, 10),
    keep_prob=PROBABILITY,
    global_share=SHARE,
    gate=GATE,
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
        Takes nothing, and returns a new layer, a module whose output has the shape of its input:
        convolution, normalization and ReLU, say. To change the shape, put a layer before the
        block.
    columns : int
        Number C of columns, from 1 to 10.
    keep_prob : float
        Probability to KEEP a path into a join when it is local, in (0, 1].
    global_share : float
        Probability that a draw is global, in [0, 1]. Half is how re-implementations read the paper.
    gate : {"batch", "example"}
        One draw for the whole mini-batch, as in the authors' code of the join, or one for each
        example.

    Shape
    -----
    Input and output: any shape that the layers keep, (batch, ...) for ``gate="example"``.

    Raises
    ------
    TypeError, ValueError
        If `make_layer` does not return a module, a new one at each call; in `forward`, if columns
        differ in shape where they are joined.

    Notes
    -----
    With ``gate="batch"`` a global draw computes its column alone; the parameters of the others get
    no gradient (``grad`` stays None). With gates of the examples' own, and under ``torch.vmap``,
    all columns are computed, and what was not drawn is left out afterwards.

    Each block draws a column of its own. In a network of several blocks the paper draws one for
    all: draw it in the network's `forward`, and hand it to the blocks as `column`.

    Columns share what goes into them, so a layer must not change its input in place.

    The authors have not published their code of global drop-path.

    References
    ----------
    Larsson et al. (2017), *FractalNet: ultra-deep neural networks without residuals*, ICLR: the
    expansion rule, local and global drop-path, and columns as networks of their own.

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
        make = _fresh(make_layer)
        self.columns = nn.ModuleList(
            nn.Sequential(*(make() for _ in range(2 ** (c - 1)))) for c in range(1, columns + 1)
        )

    def column(self, c):
        """Return column c as a network of its own, with the weights of the block.

        Parameters
        ----------
        c : int
            From 1, the shallowest, to the number of columns.

        Returns
        -------
        torch.nn.Sequential
            Its 2**(c - 1) layers.
        """
        return self.columns[Whole(1, len(self.columns)).check(c, "column") - 1]

    def forward(self, x: Tensor, column=None) -> Tensor:
        TENSOR.check(x, "x")
        if column is not None:
            return self.column(column)(x)
        if not self.training or self.global_share == 0:
            return self._all_columns(x)
        drawn = self._draw_columns(x)  # () or (batch,): 0 is local, c is column c alone
        if self.join.gate == "batch":
            try:
                c = int(drawn)
            except RuntimeError:  # under vmap, where each model has its own
                return self._all_columns(x, drawn)
            return self.column(c)(x) if c else self._all_columns(x)
        return self._all_columns(x, drawn)

    def _all_columns(self, x, drawn=None):
        """From the first to the last step of the deepest column, which has a layer in each."""
        n = len(self.columns)
        inputs = [x] * n  # of each column's next layer
        for step in range(1, 2 ** (n - 1) + 1):
            ending, paths = [], []
            for c in range(1, n + 1):
                span = 2 ** (n - c)  # steps that a layer of column c takes
                if step % span == 0:
                    ending.append(c)
                    paths.append(self.columns[c - 1][step // span - 1](inputs[c - 1]))
            y = self.join(paths)
            if drawn is not None:
                for c, path in zip(ending, paths, strict=True):
                    alone = (drawn == c).view(_gate_shape(self.join.gate, path))
                    y = torch.where(alone, path, y)
            for c in ending:
                inputs[c - 1] = y
        return y

    def _draw_columns(self, x):
        shape = _gate_shape(self.join.gate, x)
        is_global = keep_mask(x, self.global_share, shape)
        columns = torch.randint(1, len(self.columns) + 1, shape, device=x.device)
        return torch.where(is_global > 0, columns, 0).view(shape[:1])

    def extra_repr(self):
        return f"global_share={self.global_share:g}"


def _gate_shape(gate, x):
    """One gate, or one an example, in a shape that meets x."""
    if gate == "batch":
        return ()
    if x.dim() == 0:
        raise ValueError('x must have a first dimension of examples with gate="example"')
    return (x.shape[0], *(1 for _ in x.shape[1:]))


def _fresh(make_layer):
    """Call make_layer, and see that it returns modules, each a new one."""
    seen = []

    def make():
        layer = make_layer()
        if not isinstance(layer, nn.Module):
            raise TypeError(
                "make_layer must return a torch.nn.Module, "
                f"got {layer!r} of type {type(layer).__name__}"
            )
        if any(layer is other for other in seen):
            raise ValueError(
                f"make_layer must return a new module at each call, got {layer!r} a second time"
            )
        seen.append(layer)
        return layer

    return make
