"""What holds for masks in NumPy."""

import numpy as np
import pytest
from chance import few_examples, is_near, keep_probs
from formulas import every_mask
from hypothesis import example, given
from hypothesis import strategies as st
from scipy import stats

from lib.masks import all_masks, bernoulli_mask, gaussian_mask, inverted_mask, mask_probabilities

SHAPES = [(), (0,), (5,), 7, (3, 4), (2, 0, 3), (2, 3, 4, 5)]
sampled = pytest.mark.parametrize("sample", [bernoulli_mask, inverted_mask, gaussian_mask])


# Sampled masks


@sampled
@pytest.mark.parametrize("shape", SHAPES)
def test_a_mask_has_the_shape_asked_for(sample, shape, rng):
    assert sample(shape, 0.5, rng).shape == np.empty(shape).shape


@few_examples
@given(keep_prob=keep_probs, seed=st.integers(0, 100))
def test_an_inverted_mask_is_the_bernoulli_mask_of_its_seed_over_keep_prob(keep_prob, seed):
    shape = (20, 5)
    ones = bernoulli_mask(shape, keep_prob, np.random.default_rng(seed)) == 1
    inverted = inverted_mask(shape, keep_prob, np.random.default_rng(seed))
    assert np.array_equal(inverted, np.where(ones, 1 / keep_prob, 0))


@few_examples
@given(keep_prob=keep_probs)
def test_a_bernoulli_mask_holds_ones_with_keep_prob_and_zeros_as_integers(keep_prob):
    n = 20_000
    mask = bernoulli_mask(n, keep_prob, np.random.default_rng(1))
    assert np.issubdtype(mask.dtype, np.integer)
    assert set(np.unique(mask)) <= {0, 1}
    assert is_near(mask.mean(), keep_prob, np.sqrt(keep_prob * (1 - keep_prob)), n)


def fourth_central_moment(sample, keep_prob):
    if sample is gaussian_mask:
        return 3 * ((1 - keep_prob) / keep_prob) ** 2
    masks, probabilities = every_mask(1, keep_prob)
    return probabilities @ (masks[:, 0] / keep_prob - 1) ** 4


@few_examples
@given(sample=st.sampled_from([inverted_mask, gaussian_mask]), keep_prob=keep_probs)
def test_inverted_and_gaussian_masks_have_mean_one_and_the_same_variance(sample, keep_prob):
    n = 20_000
    deviation = sample(n, keep_prob, np.random.default_rng(1)) - 1
    variance = (1 - keep_prob) / keep_prob
    assert is_near(deviation.mean(), 0, np.sqrt(variance), n)
    spread = np.sqrt(np.maximum(0, fourth_central_moment(sample, keep_prob) - variance**2))
    assert is_near((deviation**2).mean(), variance, spread, n)


@pytest.mark.parametrize("keep_prob", [0.2, 0.5, 0.9])
def test_a_gaussian_mask_has_the_quantiles_of_the_normal_distribution(keep_prob, rng):
    n = 50_000
    standard = (gaussian_mask(n, keep_prob, rng) - 1) / np.sqrt(1 / keep_prob - 1)
    assert stats.kstest(standard, "norm").pvalue > 1e-6


@sampled
def test_the_entries_of_a_mask_are_independent(sample, rng):
    n = 20_000
    correlation = np.corrcoef(sample((n, 6), 0.5, rng), rowvar=False)
    assert is_near(correlation, np.eye(6), 1, n)


@sampled
def test_keep_prob_one_keeps_every_unit(sample, rng):
    assert (sample((50, 50), 1, rng) == 1).all()


@sampled
def test_the_same_seed_gives_the_same_mask_and_another_seed_another(sample):
    first, same, other = (sample(100, 0.5, np.random.default_rng(seed)) for seed in (3, 3, 4))
    assert np.array_equal(first, same)
    assert not np.array_equal(first, other)


# Every mask


@pytest.mark.parametrize("n", [1, 2, 5, 20])
def test_all_masks_lists_each_mask_once_in_the_order_of_counting(n):
    masks = all_masks(n)
    assert masks.shape == (2**n, n)
    assert np.isin(masks, [0, 1]).all()
    assert np.array_equal(masks @ 2 ** np.arange(n)[::-1], np.arange(2**n))


# Their probabilities


@few_examples
@given(keep=st.lists(keep_probs, min_size=1, max_size=8))
@example(keep=[1.0, 1.0, 1.0])
def test_by_enumeration_units_are_kept_with_their_own_keep_prob_and_independently(keep):
    masks, keep = all_masks(len(keep)), np.array(keep)
    probabilities = mask_probabilities(masks, keep)
    covariance = (masks - keep).T @ (probabilities[:, None] * (masks - keep))
    assert (probabilities >= 0).all()
    assert probabilities.sum() == pytest.approx(1, abs=1e-12)
    assert probabilities @ masks == pytest.approx(keep, abs=1e-12)
    assert covariance == pytest.approx(np.diag(keep * (1 - keep)), abs=1e-12)


def test_sampled_masks_occur_as_often_as_their_probabilities_say(rng):
    n, keep = 50_000, 0.7
    rows = bernoulli_mask((n, 3), keep, rng) @ [4, 2, 1]  # the row in all_masks(3)
    expected = mask_probabilities(all_masks(3), keep)
    frequencies = np.bincount(rows, minlength=8) / n
    assert is_near(frequencies, expected, np.sqrt(expected * (1 - expected)), n)


@pytest.mark.parametrize("masks", [[[0, 2]], [[0.5, 1]], [[-1, 0]], 1])
def test_probabilities_of_other_values_than_zero_and_one_are_a_value_error(masks):
    with pytest.raises(ValueError, match="masks must be rows of 0 and 1, got"):
        mask_probabilities(masks, 0.5)


@pytest.mark.parametrize("keep_prob", [[0.5], [0.5, 0.5, 0.5], [[0.5, 0.5]]])
def test_a_keep_prob_for_another_number_of_units_is_a_value_error(keep_prob):
    with pytest.raises(ValueError, match=r"keep_prob must .* shape \(2,\).* got shape"):
        mask_probabilities([[0, 1]], keep_prob)
