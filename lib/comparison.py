"""Comparing two settings honestly: paired by seed."""

from typing import NamedTuple

import numpy as np
from scipy import stats

from lib.validation import Numbers, declared


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
        Of ``ours - baseline``: negative where ours is lower. The interval is Student's t for the
        mean of the differences; a seed agrees if its difference has the sign of the mean.

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
    low, high = stats.ttest_rel(ours, baseline).confidence_interval(0.95)
    agree = np.sign(difference) == np.sign(difference.mean())
    return Comparison(
        float(difference.mean()), float(low), float(high), int(agree.sum()), len(difference)
    )
