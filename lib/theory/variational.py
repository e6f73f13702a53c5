"""What the log-uniform prior charges for a weight: a number that depends on its noise alone.

Variational dropout gives each weight the distribution q(w) = N(theta, alpha theta^2), and asks for
the largest::

    E_q[log likelihood] - KL(q || prior),        prior p(w) proportional to 1 / |w| .

Write w = theta (1 + sqrt(alpha) e) with e ~ N(0, 1). Then the logarithms of theta's size cancel::

    KL = -1/2 log(2 pi e alpha) + E log|1 + sqrt(alpha) e| + constant
       = E log|e + 1 / sqrt(alpha)| - E log|e| .

The prior has no integral, so the constant is free. The second line is the choice of Molchanov et
al.: KL falls to 0 as alpha grows. With x = 1 / sqrt(2 alpha) and Dawson's integral
D(x) = exp(-x^2) int_0^x exp(t^2) dt, its derivative by log(alpha) is -x D(x). For small alpha,
KL = -1/2 log(alpha) + SMALL_NOISE + O(alpha).
"""

import numpy as np
from scipy.integrate import quad
from scipy.special import dawsn, expit

from lib.validation import Numbers, Real, declared

LARGEST = 1000  # exp of half of it is a number in double precision
LOG_ALPHA = Numbers(Real(-LARGEST, LARGEST, "[]"))

# -E log|e| for a standard Gaussian e: half of Euler's constant plus log 2, 0.63518.
SMALL_NOISE = (np.euler_gamma + np.log(2)) / 2

MOLCHANOV = (0.63576, 1.87320, 1.48695)


@declared(log_alpha=LOG_ALPHA)
def kl_log_uniform(log_alpha):
    r"""KL from N(theta, alpha theta^2) to the log-uniform prior, by numerical integration.

    .. math:: \text{KL}(\alpha) = 2 \int_0^{1 / \sqrt{2 \alpha}} D(u) \, du ,

    with Dawson's integral D. It is what is *subtracted* from the expected log likelihood.

    Parameters
    ----------
    log_alpha : array_like of float
        Natural logarithm of alpha, the variance of the noise relative to the squared mean.

    Returns
    -------
    numpy.ndarray of float, of the shape of `log_alpha`
        In nats, right to about 1e-9.

    References
    ----------
    Kingma et al. (2015), section 3, for the definition; Hron et al. (2017), *Variational Gaussian
    dropout is not Bayesian*, for an analytical form.

    Examples
    --------
    >>> kl_log_uniform([-4.0, 0.0, 4.0]).round(4)
    array([2.6258, 0.4267, 0.0091])
    """

    def one(log_alpha):
        # In v = log u the integrand u D(u) is flat where D is small or large: quad needs few steps.
        # Below v = -20 it is u^2, which is less than 1e-17.
        end = -(log_alpha + np.log(2)) / 2
        pieces = [-20, *(v for v in (-2, 0, 2) if v < end), end]
        return 2 * sum(
            quad(lambda v: np.exp(v) * dawsn(np.exp(v)), low, high, epsabs=1e-12)[0]
            for low, high in zip(pieces, pieces[1:], strict=False)
            if low < high
        )

    return np.vectorize(one, otypes=[float])(log_alpha)


@declared(log_alpha=LOG_ALPHA)
def kl_molchanov(log_alpha):
    r"""Molchanov's approximation of the same KL, for every alpha, in the shape of `log_alpha`.

    .. math:: -\text{KL} \approx k_1 \sigma(k_2 + k_3 \log \alpha) - \frac12 \log(1 + 1 / \alpha)
              - k_1

    It tends to 0 as alpha grows. The error is at most 0.0094 nats, near log(alpha) = -3.5.

    Parameters
    ----------
    log_alpha : array_like of float

    References
    ----------
    Molchanov et al. (2017), section 4.

    Examples
    --------
    >>> kl_molchanov([-4.0, 0.0, 4.0]).round(4)
    array([2.6342, 0.4312, 0.0093])
    """
    k1, k2, k3 = MOLCHANOV
    return k1 * expit(-k2 - k3 * log_alpha) + 0.5 * np.logaddexp(0, -log_alpha)
