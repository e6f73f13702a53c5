"""Averages of predictors: all sub-networks of a network, and what averaging does to the error.

A network with n units that may be dropped has 2^n sub-networks, one a mask. Their mean, each with
the probability of its mask, is what dropout's rules at prediction approximate.
"""

from typing import NamedTuple

import numpy as np

from lib.masks import LARGEST_ENUMERATION, all_masks
from lib.validation import COUNT, FINITE, NOT_NEGATIVE, NUMBERS, Function, Numbers, Whole, declared

WEIGHTS = Numbers(NOT_NEGATIVE, ndim=1)


@declared(forward=Function(), n_units=Whole(1, LARGEST_ENUMERATION), chunk=COUNT)
def subnetwork_outputs(forward, n_units, *, chunk=4096):
    """Run every sub-network of a network.

    Parameters
    ----------
    forward : callable
        From masks of 0 and 1, shape (k, n_units), to the outputs of their sub-networks, shape
        (k, ...).
    n_units : int
        Number of units that may be dropped, from 1 to 20.
    chunk : int
        How many masks `forward` gets at once, which bounds the memory.

    Returns
    -------
    numpy.ndarray, shape (2**n_units, ...)
        The outputs, in the order of ``all_masks(n_units)``.

    Raises
    ------
    ValueError
        If `forward` does not return one output a mask.

    Examples
    --------
    >>> weights = np.array([1.0, 10.0])
    >>> subnetwork_outputs(lambda masks: masks @ weights, 2)
    array([ 0., 10.,  1., 11.])
    """
    masks = all_masks(n_units)
    outputs = []
    for start in range(0, len(masks), chunk):
        some = masks[start : start + chunk]
        outputs.append(np.asarray(forward(some)))
        if outputs[-1].shape[:1] != (len(some),):
            raise ValueError(
                f"forward must return an output for each of {len(some)} masks, "
                f"got shape {outputs[-1].shape}"
            )
    return np.concatenate(outputs)


def check_probabilities(probabilities, outputs):
    """Raise a ValueError if lengths differ or the probabilities don't sum to 1."""
    if probabilities.ndim != 1 or outputs.shape[:1] != probabilities.shape:
        raise ValueError(
            "probabilities must have shape (m,) and outputs (m, ...), "
            f"got {probabilities.shape} and {outputs.shape}"
        )
    total = probabilities.sum()
    if not np.isclose(total, 1, rtol=0, atol=1e-9):
        raise ValueError(f"probabilities must sum to 1, got the sum {total:.12g}")


@declared(outputs=NUMBERS, probabilities=WEIGHTS)
def ensemble_mean(outputs, probabilities):
    """Mean of the outputs of all sub-networks, each with the probability of its mask.

    Parameters
    ----------
    outputs : array_like of float, shape (m, ...)
    probabilities : array_like of float, shape (m,)
        Not negative, summing to 1; from `lib.masks.mask_probabilities` for instance.

    Returns
    -------
    numpy.ndarray of float, shape (...)

    Raises
    ------
    ValueError
        If the probabilities don't sum to 1.

    Examples
    --------
    >>> ensemble_mean([[0, 1], [10, 1], [1, 1], [11, 1]], [0.0625, 0.1875, 0.1875, 0.5625])
    array([8.25, 1.  ])
    """
    check_probabilities(probabilities, outputs)
    return np.tensordot(probabilities, outputs, axes=1)[()]


class Decomposition(NamedTuple):
    """Expected squared error = bias squared + variance + noise."""

    error: np.ndarray
    bias_squared: np.ndarray
    variance: np.ndarray
    noise: float


@declared(predictions=NUMBERS, targets=NUMBERS, noise=NOT_NEGATIVE)
def bias_variance(predictions, targets, noise=0.0):
    r"""Take the expected squared error of a method apart.

    Training on several sets gave the predictions :math:`f_s(x)`. With the true value f(x) and
    targets :math:`y = f(x) + \text{noise}`,

    .. math:: \mathbb{E}[(y - f_s)^2]
              = (\mathbb{E}[f_s] - f)^2 + \text{Var}(f_s) + \text{Var}(y) .

    Parameters
    ----------
    predictions : array_like of float, shape (sets, ...)
        At the same points after training on each of at least two sets.
    targets : array_like of float, shape (...)
        The true values f at these points.
    noise : float
        Variance of the targets around the true values, at least 0.

    Returns
    -------
    Decomposition
        Estimates of shape (...) that add up to the error exactly. They are free of bias
        themselves, so a bias squared near 0 may come out slightly negative.

    Raises
    ------
    ValueError
        If there are fewer than two sets.

    References
    ----------
    Geman, Bienenstock and Doursat (1992), *Neural networks and the bias/variance dilemma*, Neural
    Computation 4(1).

    Examples
    --------
    >>> bias_variance([[1.0], [3.0]], targets=[0.0], noise=0.5)
    Decomposition(error=array([5.5]), bias_squared=array([3.]), variance=array([2.]), noise=0.5)
    """
    if predictions.ndim == 0 or len(predictions) < 2:
        raise ValueError(
            "predictions must hold those of at least two training sets, "
            f"got shape {predictions.shape}"
        )
    if predictions.shape[1:] != targets.shape:
        raise ValueError(
            "predictions and targets must have shapes (sets, ...) and (...), "
            f"got {predictions.shape} and {targets.shape}"
        )
    variance = predictions.var(axis=0, ddof=1)
    mean = predictions.mean(axis=0)
    bias_squared = (mean - targets) ** 2 - variance / len(predictions)
    return Decomposition(bias_squared + variance + noise, bias_squared, variance, noise)


@declared(variance=NOT_NEGATIVE, covariance=FINITE, k=COUNT)
def average_variance(variance, covariance, k):
    r"""Variance of the mean of k predictors that are equally correlated.

    .. math:: \frac{v}{k} + \frac{k - 1}{k} \, c

    A float: v / k if c = 0. With any c > 0 it does not fall below c, however large k.

    Parameters
    ----------
    variance, covariance : float
        v of each predictor, and c of each two: at most v, and at least -v / (k - 1), since more
        cannot all be opposed.
    k : int
        Number of predictors.

    Raises
    ------
    ValueError
        If `covariance` is out of that range.

    References
    ----------
    Breiman (2001), *Random forests*, Machine Learning 45(1); Hastie, Tibshirani and Friedman
    (2009), *The elements of statistical learning*, section 15.2.

    Examples
    --------
    >>> average_variance(1.0, 0.0, 10), average_variance(1.0, 0.5, 10)
    (0.1, 0.55)
    """
    lowest = -variance / (k - 1) if k > 1 else -variance
    if not lowest * (1 + 1e-9) <= covariance <= variance * (1 + 1e-9):
        raise ValueError(
            f"covariance must lie between {lowest:.6g} and the variance {variance:.6g}, "
            f"got {covariance!r}"
        )
    return max(0.0, variance / k + (k - 1) / k * covariance)  # rounding can make it negative
