"""Student's interval for a mean over seeds, and two settings compared: paired by seed."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lib.validation import Instance, Numbers, Real, declared

DIFFERENCES = Instance(dict, "a dict of comparisons", dict)
MEASURED = Numbers(Real(-np.inf, np.inf, "[]"), empty=False, nan=True)


@declared(values=MEASURED)
def mean_interval(values):
    """Mean over seeds, with its 95 % interval by Student's t.

    Parameters
    ----------
    values : array_like, shape (..., seeds)
        Where one is NaN, so are mean and interval.

    Returns
    -------
    mean, low, high : numpy.ndarray, shape (...)
        The interval is NaN with fewer than two seeds.

    Examples
    --------
    >>> mean, low, high = mean_interval([1.0, 2.0, 3.0])
    >>> f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    '2.00 [-0.48, 4.48]'
    """
    values = np.atleast_1d(values)
    mean, n_seeds = values.mean(axis=-1), values.shape[-1]
    if n_seeds < 2:
        return mean, mean * np.nan, mean * np.nan
    with np.errstate(invalid="ignore"):  # of infinite values it is NaN
        half = stats.t.ppf(0.975, n_seeds - 1) * stats.sem(values, axis=-1)
    return mean, mean - half, mean + half


class Comparison(NamedTuple):
    """Mean of the paired differences, its 95 % interval, and how many seeds agree in sign."""

    mean: float
    low: float
    high: float
    n_agree: int
    n_seeds: int

    def __str__(self):
        return (
            f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], "
            f"{self.n_agree} of {self.n_seeds} seeds agree"
        )


@declared(ours=Numbers(ndim=1), baseline=Numbers(ndim=1))
def paired_difference(ours, baseline):
    """Compare two settings that were run with the same seeds.

    Parameters
    ----------
    ours, baseline : array_like, shape (seeds,)
        A result for each seed, in the same order: the same data and the same first weights.

    Returns
    -------
    Comparison
        Of ``ours - baseline``: negative where ours is lower. A seed agrees if its difference has
        the sign of the mean.

    Raises
    ------
    ValueError
        If the two are not of one length, or hold fewer than two seeds.

    Examples
    --------
    >>> print(paired_difference([1.0, 2.0, 3.0], [2.0, 3.5, 4.0]))
    -1.167 [-1.884, -0.450], 3 of 3 seeds agree
    """
    if ours.shape != baseline.shape or len(ours) < 2:
        raise ValueError(
            "ours and baseline must hold one result for each of at least two seeds, "
            f"got shapes {ours.shape} and {baseline.shape}"
        )
    difference = ours - baseline
    mean, low, high = map(float, mean_interval(difference))
    agree = np.sign(difference) == np.sign(mean)
    return Comparison(mean, low, high, int(agree.sum()), len(difference))


@declared(differences=DIFFERENCES)
def difference_table(differences):
    """Show paired differences as the rows of a table.

    Parameters
    ----------
    differences : dict of Comparison
        By the name of the row; names that are tuples make several levels.

    Returns
    -------
    pandas.DataFrame
        Mean, both ends of the interval, and in words how many seeds agree.

    Examples
    --------
    >>> change = paired_difference([1.0, 2.0, 3.0], [2.0, 3.5, 4.0])
    >>> difference_table({"dropout - none": change}).round(2)
                    mean   low  high seeds agree
    dropout - none -1.17 -1.88 -0.45      3 of 3
    """
    rows = [
        (each.mean, each.low, each.high, f"{each.n_agree} of {each.n_seeds}")
        for each in differences.values()
    ]
    columns = ["mean", "low", "high", "seeds agree"]
    return pd.DataFrame(rows, pd.Index(list(differences)), columns)
