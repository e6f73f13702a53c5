"""Paired differences: the interval of the differences, not of the two settings."""

import numpy as np
import pytest
from scipy import stats

from lib.comparison import Comparison, difference_table, mean_interval, paired_difference


def test_the_interval_is_students_along_the_last_axis():
    mean, low, high = mean_interval([[1, 2, 3, 4, 5], [0, 0, 0, 0, 0]])
    half = 2.776445 * np.sqrt(2.5 / 5)  # t for 4 degrees of freedom
    assert mean.tolist() == [3, 0]
    assert low == pytest.approx([3 - half, 0])
    assert high == pytest.approx([3 + half, 0])


@pytest.mark.parametrize("values", [[1.0], [1.0, np.nan], [1.0, np.inf]])
def test_one_seed_or_a_number_that_is_none_has_no_interval(values):
    assert np.isnan(mean_interval(values)[1:]).all()


def test_the_interval_is_students_for_the_mean_of_the_differences():
    rng = np.random.default_rng(0)
    seed_effect = rng.normal(scale=10, size=6)  # large, and the same for both
    ours, baseline = seed_effect + rng.normal(-1, 0.1, 6), seed_effect + rng.normal(0, 0.1, 6)
    change = paired_difference(ours, baseline)
    d = ours - baseline
    assert change.mean == pytest.approx(d.mean())
    assert (change.low, change.high) == pytest.approx(
        stats.t.interval(0.95, 5, d.mean(), stats.sem(d))
    )
    assert change.high < 0  # an unpaired interval would contain zero
    assert (change.n_agree, change.n_seeds) == (6, 6)


def test_where_the_examples_alone_differ_the_interval_is_theirs():
    rng = np.random.default_rng(0)
    difference = np.tile(rng.normal(0.1, 1, 400), (5, 1))  # the same with every seed
    change = paired_difference(difference, np.zeros((5, 400)))
    mean, error = difference[0].mean(), stats.sem(difference[0])
    assert (change.low, change.high) == pytest.approx(stats.t.interval(0.95, 399, mean, error))


def test_seeds_and_examples_add_up_with_satterthwaites_degrees_of_freedom():
    difference = np.array([[1.0, 2.0, 3.0, 6.0], [0.0, 3.0, 1.0, 4.0]])  # means 3 and 2
    a = 0.5 / 2  # the variance of the seeds' means, over their number
    b = np.var([0.5, 2.5, 2.0, 5.0], ddof=1) / 4
    free = (a + b) ** 2 / (a**2 / 1 + b**2 / 3)
    change = paired_difference(difference, np.zeros((2, 4)))
    assert (change.low, change.high) == pytest.approx(
        stats.t.interval(0.95, free, 2.5, np.sqrt(a + b))
    )


def test_equal_results_have_an_interval_of_no_width():
    assert paired_difference(np.ones((3, 4)), np.ones((3, 4)))[:3] == (0, 0, 0)


def test_in_another_unit_the_verdict_and_the_seeds_are_the_same():
    change = Comparison(-0.02, -0.03, -0.01, 4, 5)
    assert change.scaled(100) == pytest.approx((-2, -3, -1, 4, 5))
    assert change.scaled(100).verdict == change.verdict


def test_exchanging_the_two_turns_the_signs():
    one, other = [1.0, 2.0, 5.0], [1.5, 4.0, 4.0]
    forth, back = paired_difference(one, other), paired_difference(other, one)
    assert back.mean == pytest.approx(-forth.mean)
    assert back.low == pytest.approx(-forth.high)
    assert back.n_agree == forth.n_agree == 2


@pytest.mark.parametrize(
    ("low", "high", "verdict"),
    [(0.1, 0.3, "higher"), (-0.3, -0.1, "lower"), (-0.1, 0.3, "not told apart")],
)
def test_the_interval_decides_the_verdict(low, high, verdict):
    assert Comparison((low + high) / 2, low, high, n_agree=3, n_seeds=5).verdict == verdict


@pytest.mark.parametrize(("ours", "baseline"), [([1.0, 2.0], [1.0, 2.0, 3.0]), ([1.0], [2.0])])
def test_results_that_do_not_pair_are_refused(ours, baseline):
    with pytest.raises(ValueError, match="ours and baseline must hold one result for each"):
        paired_difference(ours, baseline)


def test_a_table_of_differences_says_in_words_how_many_seeds_agree():
    change = paired_difference([1.0, 2.0, 5.0], [1.5, 4.0, 4.0])
    table = difference_table({("loss", "early"): change, ("loss", "late"): change})
    assert table.loc["loss"].index.tolist() == ["early", "late"]
    assert table.loc[("loss", "late")].tolist() == [*change[:3], "2 of 3"]
