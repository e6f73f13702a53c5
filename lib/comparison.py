"""Student's interval for a mean over seeds, and two settings compared: paired by seed."""

from typing import NamedTuple

import numpy as np
import pandas as pd
from scipy import stats

from lib.validation import NUMBERS, Instance, Numbers, Real, declared

DIFFERENCES = Instance(dict, "a dict of comparisons", dict)


@declared(values=Numbers(Real(ends="[]"), empty=False, nan=True))
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

    @property
    def verdict(self):
        """Lower or higher, if the interval excludes zero; or not told apart."""
        if self.low > 0:
            return "higher"
        return "lower" if self.high < 0 else "not told apart"

    def scaled(self, factor):
        """The same comparison in another unit: in points, by 100. The factor is positive."""
        return self._replace(
            mean=factor * self.mean, low=factor * self.low, high=factor * self.high
        )

    def __str__(self):
        return (
            f"{self.mean:+.3f} [{self.low:+.3f}, {self.high:+.3f}], "
            f"{self.n_agree} of {self.n_seeds} seeds agree"
        )


@declared(ours=NUMBERS, baseline=NUMBERS)
def paired_difference(ours, baseline):
    r"""Compare two settings that were run with the same seeds.

    Parameters
    ----------
    ours, baseline : array_like, shape (seeds,) or (seeds, examples)
        A result a seed, of two at least, in the same order: the same data and first weights. Or one
        a seed and test example, the same examples for all seeds: then the interval counts both that
        other seeds, and that other examples would give other results.

    Returns
    -------
    Comparison
        Of ``ours - baseline``: negative where ours is lower. A seed agrees if its difference has
        the sign of the mean.

    Notes
    -----
    With :math:`s^2_\text{seeds}` the variance of the S seeds' mean differences, and
    :math:`s^2_\text{examples}` that of the mean differences of n examples, the squared standard
    error is :math:`a + b`, with :math:`a = s^2_\text{seeds} / S` and
    :math:`b = s^2_\text{examples} / n`. What seed and example do only together is in both: the
    interval is rather too wide than too narrow. Student's t has
    :math:`(a + b)^2 / (a^2 / (S - 1) + b^2 / (n - 1))` degrees of freedom (Satterthwaite, 1946).

    Examples
    --------
    >>> print(paired_difference([1.0, 2.0, 3.0], [2.0, 3.5, 4.0]))
    -1.167 [-1.884, -0.450], 3 of 3 seeds agree
    """
    if ours.shape != baseline.shape or ours.ndim not in (1, 2) or len(ours) < 2:
        raise ValueError(
            "ours and baseline must hold one result for each of at least two seeds, "
            f"got shapes {ours.shape} and {baseline.shape}"
        )
    difference = ours - baseline
    by_seed = difference.reshape(len(difference), -1).mean(axis=1)
    mean, parts = by_seed.mean(), [by_seed]
    if difference.ndim == 2:
        parts.append(difference.mean(axis=0))
    squares, free = np.array([(stats.sem(part) ** 2, len(part) - 1) for part in parts]).T
    if squares.sum() > 0:
        free = squares.sum() ** 2 / (squares**2 / free).sum()
    half = stats.t.ppf(0.975, np.min(free)) * np.sqrt(squares.sum())
    agree = np.sign(by_seed) == np.sign(mean)
    return Comparison(*map(float, (mean, mean - half, mean + half)), int(agree.sum()), len(by_seed))


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
