"""Drop-path: a join takes the mean of those of its paths that survive, and one always does."""

import torch
from torch import Tensor

from ..validation import PROBABILITY, Many, declared
from .base import TENSOR, StochasticLayer
from .draw import keep_mask
from .gates import GATE, gate_shape

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
        k = len(paths)
        if any(path.shape != paths[0].shape for path in paths):
            shapes = [tuple(path.shape) for path in paths]
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
