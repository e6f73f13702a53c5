"""Variational dropout: y ~ N(x theta + b, x^2 sigma^2), with the noise of each weight learned."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear, softplus

from ..validation import COUNT, FINITE, Flag, Real, declared
from .base import StochasticLayer, check_floating_point, single_at_least, without_autocast

K1, K2, K3 = 0.63576, 1.87320, 1.48695  # Molchanov et al. (2017), section 4
LARGEST_LOG_SIGMA2 = 20.0  # larger variances would overflow


@declared(
    in_features=COUNT, out_features=COUNT, bias=Flag(), log_sigma2=FINITE, threshold=Real(ends="[]")
)
class VariationalLinear(StochasticLayer, nn.Linear):
    r"""Linear layer whose weights are Gaussian, with a mean and a variance to learn for each.

    The distribution of a weight is :math:`q(w) = N(\theta, \sigma^2)`, with
    :math:`\sigma^2 = \alpha \theta^2`: Gaussian dropout with a rate of its own for each weight.
    With the input x, a row:

    ============  ===========================================================
    training      :math:`y \sim N(x \theta^T + b, \; x^2 (\sigma^2)^T)` for each example and unit
                  (squares are taken entry by entry)
    eval          :math:`x \hat\theta^T + b`, with :math:`\hat\theta = \theta` where
                  :math:`\log \alpha` is below `threshold`, else 0
    ============  ===========================================================

    In training the sums are drawn, not the weights: their distribution is that of a fresh weight
    matrix for each example (the *local reparameterization trick*). The loss to minimise is the mean
    loss over the N training examples plus ``kl() / N`` of every such layer.

    Parameters
    ----------
    in_features, out_features : int
        Numbers of inputs and of units.
    bias : bool
        Whether to add a bias. It has no noise.
    log_sigma2 : float
        First value of the logarithm of all variances.
    threshold : float
        Natural logarithm of alpha from which on a weight is zero in eval. At 3, the standard
        deviation of a weight is 4.5 times its mean. ``math.inf`` never prunes.
    device, dtype
        As for ``torch.nn.Linear``.

    Attributes
    ----------
    weight, log_sigma2 : torch.nn.Parameter, shape (out_features, in_features)
        The means :math:`\theta`, first drawn as ``torch.nn.Linear`` does, and the logarithms of the
        variances.

    Shape
    -----
    Input (..., in_features), of a floating-point dtype (else a TypeError); output
    (..., out_features).

    References
    ----------
    Kingma et al. (2015), *Variational dropout and the local reparameterization trick*, sections 2
    and 3. Molchanov et al. (2017), *Variational dropout sparsifies deep neural networks*,
    section 4.

    Examples
    --------
    >>> _ = torch.manual_seed(0)
    >>> layer = VariationalLinear(3, 2, bias=False, log_sigma2=-4.0).requires_grad_(False)
    >>> _ = layer.weight.copy_(torch.tensor([[1.0, 1.0, 0.0], [2.0, 0.0, 0.0]]))
    >>> layer(torch.ones(2, 3))
    tensor([[2.2964, 1.8389],
            [2.0376, 1.8578]])
    >>> layer.eval()(torch.ones(2, 3))
    tensor([[2., 2.],
            [2., 2.]])
    >>> layer.pruned
    tensor([[False, False,  True],
            [False,  True,  True]])
    """

    def __init__(
        self,
        in_features,
        out_features,
        bias=True,
        *,
        log_sigma2=-10.0,
        threshold=3.0,
        device=None,
        dtype=None,
    ):
        super().__init__(in_features, out_features, bias, device=device, dtype=dtype)
        self.first_log_sigma2 = log_sigma2
        self.log_sigma2 = nn.Parameter(torch.full_like(self.weight, log_sigma2))
        self.threshold = threshold

    def reset_parameters(self):
        """Give all parameters first values, as a new layer has them."""
        super().reset_parameters()
        if hasattr(self, "log_sigma2"):  # not yet where torch's layer is made
            nn.init.constant_(self.log_sigma2, self.first_log_sigma2)

    @property
    def sigma2(self) -> Tensor:
        """Variances of the weights. They stop growing, and get no gradient, at exp(20)."""
        return self._in_single(self.log_sigma2).clamp(max=LARGEST_LOG_SIGMA2).exp()

    @property
    def log_alpha(self) -> Tensor:
        """log(sigma^2 / theta^2), a number for each weight; finite at theta = 0 too."""
        theta = self._in_single(self.weight)
        log_theta = (theta.abs() + torch.finfo(theta.dtype).tiny).log()
        return self._in_single(self.log_sigma2).clamp(max=LARGEST_LOG_SIGMA2) - 2 * log_theta

    @property
    def pruned(self) -> Tensor:
        """Which weights are zero in eval, a bool for each."""
        return self.log_alpha >= self.threshold

    def forward(self, x: Tensor) -> Tensor:
        check_floating_point(x)
        if not self.training:
            return linear(x, self.weight.masked_fill(self.pruned, 0), self.bias)
        mean = linear(x, self.weight, self.bias)  # (..., out)
        with without_autocast(x):
            variance = linear(self._in_single(x).square(), self.sigma2)  # (..., out)
        silent = variance <= 0  # an input of zeros: no noise, and no 0 / 0 in the gradient
        std = variance.masked_fill(silent, 1).sqrt().masked_fill(silent, 0)
        return mean + std.to(mean.dtype) * torch.randn_like(mean)

    def kl(self) -> Tensor:
        r"""KL from q to the log-uniform prior, summed over the weights: a number, in nats.

        It is Molchanov's approximation (`lib.theory.variational.kl_molchanov`), off by less than
        0.01 a weight; it tends to 0 as :math:`\alpha` grows. Of a stack (`SideBySide`), it is the
        sum over the networks too, which is what the sum of their losses needs.
        """
        log_alpha = self.log_alpha
        return (K1 * torch.sigmoid(-K2 - K3 * log_alpha) + softplus(-log_alpha) / 2).sum()

    @staticmethod
    def _in_single(tensor):
        """Half precision has no variances as small, or as large, as the logarithms allow."""
        return tensor.to(single_at_least(tensor.dtype))
