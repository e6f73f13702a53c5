"""Checks of arguments, said in one voice: the argument, its value, what is allowed."""

import math
import numbers

import numpy as np


def check_keep_prob(keep_prob, *, name="keep_prob"):
    """Return the probability to keep as a float.

    Parameters
    ----------
    keep_prob : float
        Probability to KEEP a unit, in (0, 1]. Libraries usually take the probability to drop.
    name : str
        The argument's name in the error message.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If `keep_prob` is not a real number.
    ValueError
        If `keep_prob` is outside (0, 1], or NaN.
    """
    if not _is_real(keep_prob):
        raise TypeError(
            f"{name} must be a real number in (0, 1], "
            f"got {keep_prob!r} of type {type(keep_prob).__name__}"
        )
    if math.isnan(keep_prob) or not 0 < keep_prob <= 1:
        raise ValueError(f"{name} must lie in (0, 1], got {keep_prob!r}")
    return float(keep_prob)


def check_count(value, name, *, at_least=1, at_most=None):
    """Return a whole number as an int.

    Parameters
    ----------
    value : int
        The number to check.
    name : str
        The argument's name in the error message.
    at_least, at_most : int, optional
        The allowed range, ends included.

    Returns
    -------
    int

    Raises
    ------
    TypeError
        If `value` is not a whole number.
    ValueError
        If `value` is outside the range.
    """
    allowed = f"at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
    if isinstance(value, bool) or not isinstance(value, numbers.Integral):
        raise TypeError(
            f"{name} must be a whole number {allowed}, got {value!r} of type {type(value).__name__}"
        )
    if value < at_least or (at_most is not None and value > at_most):
        raise ValueError(f"{name} must be {allowed}, got {value!r}")
    return int(value)


def check_positive(value, name):
    """Return a positive, finite number as a float.

    Parameters
    ----------
    value : float
        The number to check.
    name : str
        The argument's name in the error message.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If `value` is not a real number.
    ValueError
        If `value` is zero, negative, infinite or NaN.
    """
    if not _is_real(value):
        raise TypeError(
            f"{name} must be a positive number, got {value!r} of type {type(value).__name__}"
        )
    if not 0 < value < math.inf:
        raise ValueError(f"{name} must be positive and finite, got {value!r}")
    return float(value)


def check_finite(values, name, *, at_least=-math.inf):
    """Return numbers as an array of floats, none of them infinite or NaN.

    Parameters
    ----------
    values : array_like of float
        The numbers to check.
    name : str
        The argument's name in the error message.
    at_least : float
        The smallest number allowed.

    Returns
    -------
    numpy.ndarray of float

    Raises
    ------
    ValueError
        If a number is infinite, NaN or below `at_least`.
    """
    values = np.asarray(values, dtype=float)
    bad = ~np.isfinite(values) | (values < at_least)
    if bad.any():
        allowed = "finite" if at_least == -math.inf else f"at least {at_least} and finite"
        raise ValueError(f"{name} must be {allowed}, got {float(values[bad][0])!r}")
    return values


def check_choice(value, name, choices):
    """Return `value` if it is one of `choices`.

    Parameters
    ----------
    value : str
        The value to check.
    name : str
        The argument's name in the error message.
    choices : sequence of str
        What is allowed.

    Returns
    -------
    str

    Raises
    ------
    ValueError
        If `value` is not among `choices`.
    """
    if value not in choices:
        raise ValueError(f"{name} must be one of {', '.join(map(repr, choices))}, got {value!r}")
    return value


def check_generator(rng):
    """Return `rng` if it is a random generator of NumPy.

    Parameters
    ----------
    rng : numpy.random.Generator

    Returns
    -------
    numpy.random.Generator

    Raises
    ------
    TypeError
        If it is something else, a seed for instance.
    """
    if not isinstance(rng, np.random.Generator):
        raise TypeError(
            "rng must be a numpy.random.Generator, such as numpy.random.default_rng(0), "
            f"got {rng!r}"
        )
    return rng


def check_unit_interval(value, name):
    """Return a number strictly between 0 and 1 as a float.

    Parameters
    ----------
    value : float
        The number to check.
    name : str
        The argument's name in the error message.

    Returns
    -------
    float

    Raises
    ------
    TypeError
        If `value` is not a real number.
    ValueError
        If `value` is not between 0 and 1, or NaN.
    """
    if not _is_real(value):
        raise TypeError(
            f"{name} must be a number in (0, 1), got {value!r} of type {type(value).__name__}"
        )
    if not 0 < value < 1:
        raise ValueError(f"{name} must lie in (0, 1), got {value!r}")
    return float(value)


def _is_real(value):
    return isinstance(value, numbers.Real) and not isinstance(value, bool)
