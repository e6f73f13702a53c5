"""Stochastic depth: y = x + b * f(x) with one b ~ Bernoulli(survival_prob) for a whole branch."""

from torch import Tensor

from ..validation import COUNT, PROBABILITY, SCALING, Flag, declared
from .base import MODULE, StochasticLayer
from .draw import keep_mask
from .gates import GATE, at_hand, gate_shape, known


@declared(branch=MODULE, survival_prob=PROBABILITY, gate=GATE, scaling=SCALING, skip=Flag())
class StochasticDepth(StochasticLayer):
    r"""A residual block whose branch is dropped whole, and then not computed at all.

    With f the branch, :math:`b \sim \text{Bernoulli}(p)` its gate, and p the probability that it
    survives:

    ============  ========================  ====================
    scaling       training                  eval
    ============  ========================  ====================
    "inverted"    :math:`x + b\, f(x) / p`  :math:`x + f(x)`
    "weight"      :math:`x + b\, f(x)`      :math:`x + p\, f(x)`
    ============  ========================  ====================

    For this one block, eval gives the mean of what training gives.

    Parameters
    ----------
    branch : torch.nn.Module
        The branch f.
    survival_prob : float
        Probability that the branch SURVIVES, in (0, 1]. ``torchvision.ops.StochasticDepth`` and
        timm's ``DropPath`` take 1 - survival_prob.
    gate : {"batch", "example"}
        One gate for the whole mini-batch, as the authors draw it, or one for each example.
    scaling : {"inverted", "weight"}
        Whether the factor goes into training, as in all libraries, or into eval, the authors' rule.
    skip : bool
        Whether what is dropped is not computed. With False the branch is computed for all examples
        and multiplied by the gates: see *Notes*.

    Shape
    -----
    Input and output: any shape that `branch` keeps (else it is a ValueError), (batch, ...) for
    ``gate="example"``, any floating-point dtype (another one is a TypeError in training).

    Notes
    -----
    *Time.* A dropped branch is not called, and with ``gate="example"`` it is called on the
    survivors alone. With ``skip=False`` it is always called on all, which saves nothing. So it is
    under ``torch.vmap``, that is in ``SideBySide`` and in Monte Carlo samples, and in a program
    that is exported or traced, whatever `skip` says. Gates that decide on what is called are drawn
    in main memory, where Python reads them without waiting for a graphics card.

    *Gradients.* The parameters of a branch that was not called get none: ``grad`` stays None, and
    torch's optimizers leave them, and their momentum, alone. A branch multiplied by 0 gets a
    gradient of 0, and moves on with its momentum. ``DistributedDataParallel``, which waits for the
    gradient of each parameter, needs ``skip=False`` (or ``find_unused_parameters=True``), and so
    does ``torch.compile(fullgraph=True)``.

    *Batch normalization* in the branch sees what the branch sees: nothing when it is dropped, and
    with ``gate="example"`` the survivors alone. If only one is left, a batch norm of vectors raises
    an error. With ``skip=False`` it sees all examples in each call. The block ends with the sum:
    the authors' ReLU after it is another layer.

    References
    ----------
    Huang et al. (2016), *Deep networks with stochastic depth*, ECCV: section 3. Their code scales
    by "weight".

    Examples
    --------
    >>> import torch
    >>> from torch import nn
    >>> _ = torch.manual_seed(0)
    >>> layer = StochasticDepth(nn.Identity(), survival_prob=0.5, gate="example")
    >>> layer(torch.ones(4, 1)).flatten()  # 1, or 1 + 1 / 0.5
    tensor([3., 1., 3., 1.])
    >>> layer.eval()(torch.ones(4, 1)).flatten()
    tensor([2., 2., 2., 2.])
    """

    def __init__(self, branch, survival_prob=0.5, gate="batch", scaling="inverted", *, skip=True):
        super().__init__()
        self.branch = branch
        self.survival_prob = survival_prob
        self.gate = gate
        self.scaling = scaling
        self.skip = skip

    def forward(self, x: Tensor) -> Tensor:
        shape, p = gate_shape(self.gate, x), self.survival_prob
        if p == 1 or not self.training:
            return x + self._scaled_branch(x, p if self.scaling == "weight" else 1)
        scale = 1 / p if self.scaling == "inverted" else 1
        gates = keep_mask(at_hand(x) if self.skip else x, p, shape)
        drawn = known(gates) if self.skip else None
        if drawn is None:
            return x + (gates * scale).to(x.device, non_blocking=True) * self._scaled_branch(x, 1)
        if not any(drawn):
            return x
        if all(drawn):
            return x + self._scaled_branch(x, scale)
        rows = gates.flatten().nonzero()[:, 0].to(x.device, non_blocking=True)
        update = self._scaled_branch(x[rows], scale).to(x.dtype)
        return x.clone().index_add_(0, rows, update)  # a clone keeps the memory format

    def _scaled_branch(self, x, scale):
        y = self.branch(x)
        if y.shape != x.shape:
            raise ValueError(
                f"branch must keep the shape of its input, {tuple(x.shape)}, got {tuple(y.shape)}"
            )
        return y if scale == 1 else scale * y


@declared(n_blocks=COUNT, last=PROBABILITY)
def linear_survival(n_blocks, last=0.5):
    r"""Survival probabilities that fall linearly with depth.

    .. math:: p_l = 1 - \frac{l}{L} (1 - p_L), \qquad l = 1, \dots, L

    Parameters
    ----------
    n_blocks : int
        Number L of residual blocks, at least 1.
    last : float
        Survival probability :math:`p_L` of the last, the deepest block, in (0, 1].

    Returns
    -------
    list of float
        From the first block to the last; the sum, the expected number of survivors, is (3L - 1) / 4
        for the default.

    References
    ----------
    Huang et al. (2016), section 3, "linear decay".

    Examples
    --------
    >>> linear_survival(4)
    [0.875, 0.75, 0.625, 0.5]
    """
    depths = [block / n_blocks for block in range(1, n_blocks + 1)]  # in (0, 1]
    return [(1 - depth) + depth * last for depth in depths]
