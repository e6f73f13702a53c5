"""Dropout masks in NumPy: sampled, or every one there is.

A mask has one entry a unit: 1 keeps the unit, 0 drops it. The entries are independent::

    m_i ~ Bernoulli(keep_prob),   E[m_i] = keep_prob,   Var[m_i] = keep_prob (1 - keep_prob).

Scaled by 1 / keep_prob a mask has mean 1 and variance (1 - keep_prob) / keep_prob. The Gaussian
mask has these two as well, and no zeros.
"""

import numpy as np

from lib.validation import check_count, check_generator, check_keep_prob

LARGEST_ENUMERATION = 20


def bernoulli_mask(shape, keep_prob, rng):
    """Sample a mask of zeros and ones.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the mask. ``(batch, units)`` gives each example its own mask.
    keep_prob : float
        Probability that an entry is 1, in (0, 1].
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray of int
        The mask.

    Raises
    ------
    TypeError
        If `keep_prob` is not a number or `rng` not a Generator.
    ValueError
        If `keep_prob` is outside (0, 1].

    References
    ----------
    Hinton et al. (2012), arXiv:1207.0580; Srivastava et al. (2014), section 4.

    Examples
    --------
    >>> bernoulli_mask(5, 0.5, np.random.default_rng(0))
    array([0, 1, 1, 1, 0])
    """
    keep_prob = check_keep_prob(keep_prob)
    return (check_generator(rng).random(shape) < keep_prob).astype(int)


def inverted_mask(shape, keep_prob, rng):
    """Sample a mask of zeros and 1/keep_prob, whose mean is 1.

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the mask.
    keep_prob : float
        Probability that an entry is not 0, in (0, 1].
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray of float
        The mask: mean 1, variance (1 - keep_prob) / keep_prob.

    Raises
    ------
    TypeError
        If `keep_prob` is not a number or `rng` not a Generator.
    ValueError
        If `keep_prob` is outside (0, 1].

    References
    ----------
    Srivastava et al. (2014), section 10, "Multiplicative Gaussian noise".

    Examples
    --------
    >>> inverted_mask(5, 0.5, np.random.default_rng(0))
    array([0., 2., 2., 2., 0.])
    """
    return bernoulli_mask(shape, keep_prob, rng) / keep_prob


def gaussian_mask(shape, keep_prob, rng):
    """Sample a Gaussian mask, with the mean and variance of the inverted one.

    m_i ~ N(1, (1 - keep_prob) / keep_prob).

    Parameters
    ----------
    shape : int or tuple of int
        Shape of the mask.
    keep_prob : float
        Keep probability of the mask whose mean and variance are matched, in (0, 1].
    rng : numpy.random.Generator
        Source of the random numbers.

    Returns
    -------
    numpy.ndarray of float
        The mask: mean 1, variance (1 - keep_prob) / keep_prob.

    Raises
    ------
    TypeError
        If `keep_prob` is not a number or `rng` not a Generator.
    ValueError
        If `keep_prob` is outside (0, 1].

    References
    ----------
    Srivastava et al. (2014), section 10, "Multiplicative Gaussian noise".

    Examples
    --------
    >>> gaussian_mask(4, 0.5, np.random.default_rng(0)).round(2)
    array([1.13, 0.87, 1.64, 1.1 ])
    """
    keep_prob = check_keep_prob(keep_prob)
    std = np.sqrt((1 - keep_prob) / keep_prob)
    return check_generator(rng).normal(1, std, shape)


def all_masks(n):
    """List every mask of `n` units.

    Parameters
    ----------
    n : int
        Number of units, from 1 to 20.

    Returns
    -------
    numpy.ndarray of int, shape (2**n, n)
        One mask a row. Row k is k in binary, the first unit its leading digit.

    Raises
    ------
    TypeError
        If `n` is not a whole number.
    ValueError
        If `n` is outside 1 to 20: beyond that there are more than a million masks.

    Examples
    --------
    >>> all_masks(2)
    array([[0, 0],
           [0, 1],
           [1, 0],
           [1, 1]])
    """
    n = check_count(n, "n", at_most=LARGEST_ENUMERATION)
    return np.arange(2**n)[:, None] >> np.arange(n)[::-1] & 1


def mask_probabilities(masks, keep_prob):
    """Probability of each mask, prod_i keep_prob^m_i (1 - keep_prob)^(1 - m_i).

    Parameters
    ----------
    masks : array_like of 0 and 1, shape (..., n)
        One mask a row.
    keep_prob : float or array_like of shape (n,)
        Probability to keep a unit, in (0, 1]; an array gives each unit its own.

    Returns
    -------
    numpy.ndarray of float, shape (...)
        The probabilities. Over ``all_masks(n)`` they sum to 1.

    Raises
    ------
    TypeError
        If `keep_prob` is not a number.
    ValueError
        If an entry of `masks` is neither 0 nor 1, or a `keep_prob` is outside (0, 1],
        or there is not one `keep_prob` a unit.

    Examples
    --------
    >>> mask_probabilities([[0, 0], [0, 1], [1, 0], [1, 1]], 0.75)
    array([0.0625, 0.1875, 0.1875, 0.5625])
    """
    masks = np.asarray(masks)
    if not np.isin(masks, (0, 1)).all():
        raise ValueError(f"masks must hold only 0 and 1, got values {np.unique(masks)}")
    if np.ndim(keep_prob) == 0:
        keep = np.full(masks.shape[-1], check_keep_prob(keep_prob))
    else:
        keep = np.array([check_keep_prob(value) for value in np.ravel(keep_prob).tolist()])
        if np.shape(keep_prob) != masks.shape[-1:]:
            raise ValueError(
                f"keep_prob must be one number or have shape {masks.shape[-1:]}, "
                f"one for each unit, got shape {np.shape(keep_prob)}"
            )
    return np.where(masks == 1, keep, 1 - keep).prod(axis=-1)
