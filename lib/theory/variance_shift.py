r"""What batch normalization gets wrong after dropout: the variance it remembers.

In training, batch norm sees what noise has passed through; at prediction it divides by the variance
that it remembers from training, and the noise is gone. Let the masks be :math:`s_i`, independent,
of mean 1 and variance a; inverted dropout has :math:`a = (1 - p) / p`. Batch norm gets
:math:`S = \sum_i w_i s_i x_i`, with the inputs x random as well, over the examples:

.. math::

    \mathbb{E}[S] = \mathbb{E}\Big[\sum_i w_i x_i\Big], \qquad
    \text{Var}(S) = \text{Var}\Big(\sum_i w_i x_i\Big) + a \sum_i w_i^2 \, \mathbb{E}[x_i^2] .

So the mean does not shift. The variance does, by the second term, and the *shift ratio* is the
variance at prediction by the variance in training, a number in [0, 1]; 1 is no shift. The inputs
may depend on one another in any way. Inputs that share a mask enter the second term as one: their
:math:`w_i x_i` are added before they are squared.
"""

import numpy as np

from lib.theory.moments import check_moments
from lib.validation import (
    FINITE,
    NUMBERS,
    POSITIVE,
    PROBABILITY,
    VARIANCES,
    Numbers,
    Optional,
    Real,
    check_shapes,
    declared,
)


@declared(mean=NUMBERS, variance=VARIANCES, keep_prob=PROBABILITY)
def shift_ratio(mean, variance, keep_prob):
    r"""Shift ratio where dropout leads straight into batch norm.

    .. math:: \frac{v}{(v + \mu^2) / p - \mu^2} = \frac{1}{1 + \frac{1-p}{p} \big(1 + \mu^2/v\big)}

    It is p for a unit of mean 0, and less for every other.

    Parameters
    ----------
    mean, variance : array_like of float
        :math:`\mu` and v of the unit over the examples, without dropout; broadcast against one
        another.
    keep_prob : float
        Probability to KEEP a unit, in (0, 1].

    Returns
    -------
    numpy.ndarray of float
        From 0 to 1; 1 for a unit that does not vary in training either.

    References
    ----------
    Li, Chen, Hu and Yang (2019), *Understanding the disharmony between dropout and batch
    normalization by variance shift*, CVPR, arXiv:1801.05134: dropout straight into batch norm.

    Examples
    --------
    >>> shift_ratio([0.0, 1.0, 2.0], 1.0, keep_prob=0.5)
    array([0.5       , 0.33333333, 0.16666667])
    """
    mean, variance = check_moments(mean, variance)
    return _ratio(variance, variance + mean**2, keep_prob)


@declared(
    inputs=Numbers(ndim=2, empty=False),
    weights=NUMBERS,
    keep_prob=PROBABILITY,
    groups=Optional(Numbers(ndim=1)),
)
def linear_shift_ratio(inputs, weights, keep_prob, groups=None):
    r"""Shift ratio where linear units, or a convolution, lie between dropout and batch norm.

    .. math::

        \frac{\text{Var}(\sum_i w_i x_i)}
             {\text{Var}(\sum_i w_i x_i) + \frac{1-p}{p} \sum_g \mathbb{E}\big[
              \big(\sum_{i \in g} w_i x_i\big)^2 \big]}

    The groups g are the inputs that share a mask.

    Parameters
    ----------
    inputs : array_like of float, shape (examples, n)
        Without dropout; means and variances are taken over these examples. For a convolution, the
        patches that its kernel sees, one a row.
    weights : array_like of float, shape (n,) or (n, outputs)
        A bias changes no variance.
    keep_prob : float
        Probability to KEEP an input, or a group of them, in (0, 1].
    groups : array_like of int, shape (n,), optional
        Which mask an input has: the same number, the same mask. For spatial dropout, the map.
        Without them each input has its own, as in element-wise dropout.

    Returns
    -------
    numpy.ndarray of float, shape () or (outputs,)
        From 0 to 1; 1 for a sum that does not vary in training either.

    References
    ----------
    Li et al. (2019), arXiv:1801.05134: a layer between dropout and batch norm. For masks that
    inputs share the derivation is ours, in this module's first lines.

    Examples
    --------
    Two inputs that are equal. Added, their noise averages out; subtracted, it is all there is.

    >>> x = np.array([[-1.0, -1.0], [1.0, 1.0]])
    >>> linear_shift_ratio(x, [[1.0, 1.0], [1.0, -1.0]], keep_prob=0.5)
    array([0.66666667, 0.        ])
    >>> linear_shift_ratio(x, [1.0, 1.0], keep_prob=0.5, groups=[0, 0])
    array(0.5)
    """
    fit = weights.ndim in (1, 2) and inputs.shape[1:] == weights.shape[:1]
    check_shapes(fit, "(examples, n) and (n,) or (n, outputs)", inputs=inputs, weights=weights)
    if groups is None:
        power = np.mean(inputs**2, axis=0) @ weights**2
    else:
        allowed = f"({inputs.shape[1]},), one number for each input"
        check_shapes(groups.shape == inputs.shape[1:], allowed, groups=groups)
        members = (groups == group for group in np.unique(groups))
        power = sum(np.mean((inputs[:, g] @ weights[g]) ** 2, axis=0) for g in members)
    return _ratio(np.var(inputs @ weights, axis=0), power, keep_prob)


@declared(
    mean=FINITE,
    variance=POSITIVE,
    correlation=Real(-1, 1, "[]"),
    weights=Numbers(ndim=1, empty=False),
    keep_prob=PROBABILITY,
)
def correlated_shift_ratio(mean, variance, correlation, weights, keep_prob):
    r"""Shift ratio behind a linear unit whose inputs are all alike.

    Each input has mean :math:`\mu` and variance v, and each two the correlation :math:`\rho`. With
    :math:`\theta` the angle between the d weights and the vector of ones,

    .. math::

        \frac{1}{1 + \frac{1-p}{p} \, \dfrac{1 + \mu^2 / v}{1 + \rho (d \cos^2\theta - 1)}} ,
        \qquad \cos^2\theta = \frac{(\sum_i w_i)^2}{d \sum_i w_i^2} .

    A float from 0 to 1. Without correlation it is `shift_ratio`, whatever the weights. With it, a
    wide layer has hardly any shift if its weights agree in sign; if their signs are random,
    :math:`d \cos^2\theta` is 1 on average, whatever the width.

    Parameters
    ----------
    mean, variance : float
        Of every input; the variance is positive.
    correlation : float
        Of each two inputs, from -1 / (d - 1) to 1.
    weights : array_like of float, shape (d,)
        At least one of them not 0.
    keep_prob : float
        Probability to KEEP an input, in (0, 1].

    Raises
    ------
    ValueError
        If all weights are 0, or `correlation` is below -1 / (d - 1).

    References
    ----------
    Li et al. (2019), arXiv:1801.05134: a layer between dropout and batch norm.

    Examples
    --------
    >>> for d in (1, 16, 256):
    ...     print(round(correlated_shift_ratio(0.0, 1.0, 0.25, np.ones(d), keep_prob=0.5), 3))
    0.5
    0.826
    0.985
    """
    if not weights.any():
        raise ValueError(f"weights must not all be 0, got {weights.tolist()!r}")
    d = len(weights)
    lowest = -1 / (d - 1) if d > 1 else -1.0
    if correlation < lowest:
        raise ValueError(
            f"correlation must lie in [{lowest:g}, 1] for {d} inputs, got {correlation!r}"
        )
    power = np.sum(weights**2)
    d_cos_squared = np.sum(weights) ** 2 / power
    of_sum = variance * power * np.maximum(1 + correlation * (d_cos_squared - 1), 0)
    return float(_ratio(of_sum, (variance + mean**2) * power, keep_prob))


def _ratio(variance, power, keep_prob):
    """Variance by variance + noise, where the noise multiplies what has this mean square."""
    in_training = variance + (1 - keep_prob) / keep_prob * power
    ratio = np.ones(np.shape(in_training))
    return np.divide(variance, in_training, out=ratio, where=in_training > 0)
