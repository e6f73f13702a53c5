"""Mean and variance of the activation of a Gaussian number, and what is taken for such a pair."""

import math

import torch
from torch import Tensor

from ..validation import Kind, declared
from .base import TENSOR, single_at_least
from .rectified import ReluMoments


@declared(mean=TENSOR, variance=TENSOR)
def relu_moments(mean, variance):
    r"""Mean and variance of max(0, z), z Gaussian: `lib.theory.moments.relu_moments` in torch.

    With s the standard deviation of z, a = mean / s, and :math:`\Phi` and :math:`\varphi` the
    distribution and the density of a standard Gaussian, they are

    .. math::

        E = s \, (\varphi(a) + a \Phi(a)), \qquad
        V = s^2 \, \Phi(a) + E \, (s a - E) .

    All derivatives are right, the second ones too, and the first are finite at variance 0.

    Parameters
    ----------
    mean, variance : torch.Tensor, of one shape
        Of z: such a pair as `FastDropoutLinear` takes. In half precision they are computed in
        single.
    """
    return of_relu(*MOMENTS.check((mean, variance), "mean and variance"))


@declared(mean=TENSOR, variance=TENSOR)
def sigmoid_moments(mean, variance):
    """Mean and variance of sigma(z), z Gaussian: `lib.theory.moments.sigmoid_moments` in torch.

    Parameters
    ----------
    mean, variance : torch.Tensor, of one shape
        Of z: such a pair as `FastDropoutLinear` takes. In half precision they are computed in
        single.
    """
    return of_sigmoid(*MOMENTS.check((mean, variance), "mean and variance"))


def _single_at_least(moments):
    """Compute moments of numbers in half precision in single."""

    def of(mean, variance):
        dtype = single_at_least(torch.promote_types(mean.dtype, variance.dtype))
        of_mean, of_variance = moments(mean.to(dtype), variance.to(dtype))
        return of_mean.to(mean.dtype), of_variance.to(variance.dtype)

    return of


@_single_at_least
def of_relu(mean, variance):
    return ReluMoments.apply(mean, variance)[:2]


@_single_at_least
def of_sigmoid(mean, variance):
    kappa = torch.rsqrt(1 + variance * (math.pi / 8))
    m = torch.sigmoid(kappa * mean)
    return m, m * (1 - m) * (1 - kappa)


# name: the activation of a number, and of the moments of a Gaussian
ACTIVATIONS = {
    "relu": (torch.relu, of_relu),
    "sigmoid": (torch.sigmoid, of_sigmoid),
    None: (lambda z: z, lambda mean, variance: (mean, variance)),
}


class Moments(Kind):
    """A tensor of numbers, or their means and variances."""

    allowed = (
        "a tensor of a floating-point dtype, or a pair of them of one shape: means, and variances "
        "of at least 0"
    )
    good = (torch.ones(2, 3), torch.ones(2, 3))
    bad = (
        *(None, "ab", torch.ones(2, 3).long(), 1j * torch.ones(2, 3), torch.ones(2, 3).numpy()),
        *((torch.ones(2, 3),), (torch.ones(2, 3),) * 3, (torch.ones(2, 3), 1.0)),
        *((torch.ones(2, 3), torch.ones(3)), (torch.ones(2, 3), -torch.ones(2, 3))),
    )

    def check(self, value, name):
        """Return means and variances; None for the variances of a tensor."""
        parts = value if isinstance(value, tuple | list) else (value,)
        if not all(isinstance(part, Tensor) and part.is_floating_point() for part in parts):
            self.refuse(value, name, TypeError)
        if isinstance(value, Tensor):
            return value, None
        if len(parts) != 2 or parts[0].shape != parts[1].shape:
            self.refuse([part.shape for part in parts], name)
        if not _are_variances(parts[1]):
            self.refuse(parts[1][~(parts[1] >= 0)][0].item(), name)
        return parts


def _are_variances(x):
    """Whether all are at least 0; not asked where that would wait, or where there is no number."""
    if torch.compiler.is_compiling() or x.device.type != "cpu":
        return True
    try:
        return bool((x >= 0).all())
    except RuntimeError:  # under vmap: a value stands for many
        return True


MOMENTS = Moments()
