"""Dropout masks in NumPy: sampled, or every one there is.

A mask has one entry a unit: 1 keeps the unit, 0 drops it. The entries are independent::

    m_i ~ Bernoulli(keep_prob),   E[m_i] = keep_prob,   Var[m_i] = keep_prob (1 - keep_prob).

Scaled by 1 / keep_prob a mask has mean 1 and variance (1 - keep_prob) / keep_prob. The Gaussian
mask has these two as well, and no zeros.
"""

import numpy as np

from lib.validation import GENERATOR, PROBABILITY, SHAPE, Numbers, Whole, declared

LARGEST_ENUMERATION = 20


@declared(shape=SHAPE, keep_prob=PROBABILITY, rng=GENERATOR)
def bernoulli_mask(shape, keep_prob, rng):
    """Sample a mask of zeros and ones, as int.

    Parameters
    ----------
    shape : int or tuple of int
        ``(batch, units)`` gives each example its own mask.
    keep_prob : float
        Probability that an entry is 1.
    rng : numpy.random.Generator

    References
    ----------
    Hinton et al. (2012), arXiv:1207.0580; Srivastava et al. (2014), section 4.

    Examples
    --------
    >>> bernoulli_mask(5, 0.5, np.random.default_rng(0))
    array([0, 1, 1, 1, 0])
    """
    return (rng.random(shape) < keep_prob).astype(int)


@declared(shape=SHAPE, keep_prob=PROBABILITY, rng=GENERATOR)
def inverted_mask(shape, keep_prob, rng):
    """Sample a mask of zeros and 1/keep_prob, as float: its mean is 1.

    Parameters
    ----------
    shape, keep_prob, rng
        As for `bernoulli_mask`.

    References
    ----------
    Srivastava et al. (2014), section 10, "Multiplicative Gaussian noise".

    Examples
    --------
    >>> inverted_mask(5, 0.5, np.random.default_rng(0))
    array([0., 2., 2., 2., 0.])
    """
    return bernoulli_mask(shape, keep_prob, rng) / keep_prob


@declared(shape=SHAPE, keep_prob=PROBABILITY, rng=GENERATOR)
def gaussian_mask(shape, keep_prob, rng):
    """Sample a Gaussian mask, as float, with the mean and variance of the inverted one.

    m_i ~ N(1, (1 - keep_prob) / keep_prob)

    Parameters
    ----------
    shape, keep_prob, rng
        As for `bernoulli_mask`.

    References
    ----------
    Srivastava et al. (2014), section 10, "Multiplicative Gaussian noise".

    Examples
    --------
    >>> gaussian_mask(4, 0.5, np.random.default_rng(0)).round(2)
    array([1.13, 0.87, 1.64, 1.1 ])
    """
    return rng.normal(1, np.sqrt((1 - keep_prob) / keep_prob), shape)


@declared(n=Whole(1, LARGEST_ENUMERATION))
def all_masks(n):
    """List every mask of `n` units.

    Parameters
    ----------
    n : int
        From 1 to 20.

    Returns
    -------
    numpy.ndarray of int, shape (2**n, n)
        One mask a row. Row k is k in binary, the first unit its leading digit.

    Examples
    --------
    >>> all_masks(2)
    array([[0, 0],
           [0, 1],
           [1, 0],
           [1, 1]])
    """
    return np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1


@declared(masks=Numbers(), keep_prob=Numbers(PROBABILITY))
def mask_probabilities(masks, keep_prob):
    """Probability of each mask, prod_i keep_prob^m_i (1 - keep_prob)^(1 - m_i).

    Parameters
    ----------
    masks : array_like of 0 and 1, shape (..., n)
        One mask a row.
    keep_prob : float or array_like of shape (n,)
        Probability to keep a unit; an array gives each unit its own.

    Returns
    -------
    numpy.ndarray of float, shape (...)
        Over ``all_masks(n)`` they sum to 1.

    Raises
    ------
    ValueError
        If an entry of `masks` is neither 0 nor 1, or there is not one `keep_prob` a unit.

    Examples
    --------
    >>> mask_probabilities([[0, 0], [0, 1], [1, 0], [1, 1]], 0.75)
    array([0.0625, 0.1875, 0.1875, 0.5625])
    """
    if masks.ndim == 0 or not np.isin(masks, (0, 1)).all():
        raise ValueError(f"masks must be rows of 0 and 1, got values {np.unique(masks)}")
    if keep_prob.shape not in ((), masks.shape[-1:]):
        raise ValueError(
            f"keep_prob must be one number or have shape {masks.shape[-1:]}, "
            f"one for each unit, got shape {keep_prob.shape}"
        )
    return np.where(masks == 1, keep_prob, 1 - keep_prob).prod(axis=-1)
