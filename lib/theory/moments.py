"""Moments instead of masks: mean and variance of a unit under dropout, in closed form.

A unit gets S = sum_i m_i x_i w_i with a fresh mask. Its mean and variance are exact and cheap. For
many inputs of about the same weight S is nearly Gaussian (Lyapunov's central limit theorem), and
for a Gaussian z ~ N(mu, s^2) the moments of an activation are one-dimensional integrals.
"""

import numpy as np
from scipy.special import expit, ndtr

from lib.validation import NUMBERS, PROBABILITIES, SCALING, VARIANCES, check_shapes, declared


@declared(
    weights=NUMBERS,
    inputs=NUMBERS,
    keep_prob=PROBABILITIES,
    input_variance=VARIANCES,
    scaling=SCALING,
)
def masked_sum_moments(weights, inputs, keep_prob, *, input_variance=0.0, scaling="inverted"):
    r"""Mean and variance of a sum whose terms are dropped, :math:`S = \sum_i M_i x_i w_i`: exact.

    The mask M is m / p ("inverted") or m itself ("weight"), with :math:`m_i` Bernoulli(p). The
    inputs may be random themselves, with means :math:`\mu_i` and variances :math:`v_i`, independent
    of each other and of the masks:

    .. math::

        \mathbb{E}[S] &= \sum_i w_i \, \mu_i, \qquad
        \text{Var}(S) = \sum_i w_i^2 \Big( \frac{v_i}{p}
                        + \frac{1 - p}{p} \, \mu_i^2 \Big)  \quad \text{(inverted)} \\
        \mathbb{E}[S] &= \sum_i p \, w_i \, \mu_i, \qquad
        \text{Var}(S) = \sum_i w_i^2 \big( p \, v_i + p (1 - p) \, \mu_i^2 \big)
                        \quad \text{(weight)}

    Parameters
    ----------
    weights : array_like of float, shape (n,) or (n, outputs)
    inputs : array_like of float, shape (..., n)
        The inputs, or their means.
    keep_prob : float or array_like of shape (n,)
        Probability to KEEP an input, in (0, 1]; an array gives each input its own.
    input_variance : array_like of float, broadcast against `inputs`
        With 0, the inputs are given numbers.
    scaling : {"inverted", "weight"}
        Whether the mask is m / keep_prob or m.

    Returns
    -------
    mean, variance : numpy.ndarray of float, shape (...) or (..., outputs)

    References
    ----------
    Wang and Manning (2013), *Fast dropout training*, ICML.

    Examples
    --------
    >>> mean, variance = masked_sum_moments([1.0, 2.0], [3.0, 1.0], keep_prob=0.5)
    >>> float(mean), float(variance)
    (5.0, 13.0)
    """
    fit = weights.ndim in (1, 2) and inputs.shape[-1:] == weights.shape[:1]
    check_shapes(fit, "(n,) or (n, outputs) and (..., n)", weights=weights, inputs=inputs)
    try:
        input_variance = np.broadcast_to(input_variance, inputs.shape)
    except ValueError:
        raise ValueError(
            f"input_variance must broadcast to the inputs' shape {inputs.shape}, "
            f"got {input_variance.shape}"
        ) from None
    p = keep_prob
    if p.shape not in ((), weights.shape[:1]):
        raise ValueError(
            f"keep_prob must be one number or have shape {weights.shape[:1]}, one for each input, "
            f"got shape {p.shape}"
        )
    if scaling == "inverted":
        mean, power, spread = 1.0, 1 / p, (1 - p) / p  # E[M], E[M^2], Var(M)
    else:
        mean, power, spread = p, p, p * (1 - p)
    variance = (power * input_variance + spread * inputs**2) @ weights**2
    return (mean * inputs) @ weights, variance


@declared(mean=NUMBERS, variance=VARIANCES)
def relu_moments(mean, variance):
    r"""Mean and variance of max(0, z) for a Gaussian z.

    With :math:`z \sim N(\mu, s^2)`, :math:`a = \mu / s`, and the density :math:`\varphi` and the
    distribution function :math:`\Phi` of the standard Gaussian,

    .. math::

        \mathbb{E}[\max(0, z)] &= \mu \, \Phi(a) + s \, \varphi(a) \\
        \mathbb{E}[\max(0, z)^2] &= (\mu^2 + s^2) \, \Phi(a) + \mu s \, \varphi(a)

    They are computed in a form that subtracts no large numbers, with
    :math:`r = \varphi(a) - |a| \, \Phi(-|a|)`:

    .. math:: \mathbb{E} = \max(0, \mu) + s \, r, \qquad
              \text{Var} = s^2 \big( \Phi(a) - r \, (|a| + r) \big)

    Parameters
    ----------
    mean, variance : array_like of float
        Of z, broadcast against one another. Without variance the result is max(0, mean) and 0,
        exactly.

    Returns
    -------
    mean, variance : numpy.ndarray of float

    References
    ----------
    Wang and Manning (2013), on rectified linear units.

    Examples
    --------
    >>> mean, variance = relu_moments([0.0, 2.0, 2.0], [1.0, 1.0, 0.0])
    >>> mean.round(4), variance.round(4)
    (array([0.3989, 2.0085, 2.    ]), array([0.3408, 0.9602, 0.    ]))
    """
    mean, variance = check_moments(mean, variance)
    std = np.sqrt(variance)
    with np.errstate(over="ignore"):
        ratio = np.divide(mean, std, out=np.zeros_like(std), where=std > 0)
    ratio = np.clip(ratio, -40, 40)  # beyond, phi is 0 in double precision
    distance = np.abs(ratio)
    density = np.exp(-(ratio**2) / 2) / np.sqrt(2 * np.pi)
    excess = np.maximum(density - distance * ndtr(-distance), 0)
    relative = np.maximum(ndtr(ratio) - excess * (distance + excess), 0)
    return np.maximum(mean, 0) + std * excess, variance * relative


@declared(mean=NUMBERS, variance=VARIANCES)
def sigmoid_moments(mean, variance):
    r"""Mean and variance of sigma(z) for a Gaussian z, by the probit approximation.

    .. math:: m = \mathbb{E}[\sigma(z)] \approx \sigma(\kappa \mu), \qquad
              \kappa = \frac{1}{\sqrt{1 + \pi s^2 / 8}}, \qquad
              \text{Var}(\sigma(z)) \approx m (1 - m) (1 - \kappa) .

    Since :math:`\sigma' = \sigma - \sigma^2`, the second moment follows from m, exactly:
    :math:`\mathbb{E}[\sigma^2] = m - \partial m / \partial \mu`. (Wang and Manning approximate it
    by a shifted sigmoid of its own; the variance that this leaves is not 0 at variance 0.)

    Both are exact at variance 0, and the mean at mean 0. Elsewhere the mean is off by less than
    0.018 (most where the mean of z is 1.7 standard deviations and these are large) and the variance
    by less than 0.016; both by less than 0.011 with a standard deviation up to 2.

    Parameters
    ----------
    mean, variance : array_like of float
        Of z, broadcast against one another.

    Returns
    -------
    mean, variance : numpy.ndarray of float

    References
    ----------
    Wang and Manning (2013), on the logistic function; MacKay (1992), *The evidence framework
    applied to classification networks*, Neural Computation 4(5). Daunizeau (2017),
    *Semi-analytical approximations to statistical moments of sigmoid and softmax mappings of normal
    variables*, arXiv:1703.00091, has the variance in this form.

    Examples
    --------
    >>> mean, variance = sigmoid_moments(0.3, 1.7**2)
    >>> float(mean.round(4)), float(variance.round(4))
    (0.5512, 0.0781)
    """
    mean, variance = check_moments(mean, variance)
    kappa = 1 / np.sqrt(1 + np.pi * variance / 8)
    m = expit(kappa * mean)
    return m, m * (1 - m) * (1 - kappa)


def check_moments(mean, variance):
    """Return mean and variance as arrays of one shape, or raise a ValueError that says why not."""
    try:
        return np.broadcast_arrays(mean, variance)
    except ValueError:
        raise ValueError(
            "mean and variance must have shapes that broadcast, "
            f"got {np.shape(mean)} and {np.shape(variance)}"
        ) from None
