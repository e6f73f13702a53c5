"""What holds for the measures of hidden units."""

import re
import warnings

import numpy as np
import pytest
import torch
from chance import few_examples, is_near
from hypothesis import assume, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy import linalg, stats

from lib.representation import (
    correlations,
    dead_units,
    effective_dimension,
    hoyer_sparsity,
    mean_correlation,
    neighbour_correlation,
)


@pytest.fixture(autouse=True)
def warnings_are_errors():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        yield


@pytest.fixture
def rng():
    return np.random.default_rng(0)


whole_numbers = st.integers(-1000, 1000).map(float)
vectors = arrays(float, st.integers(2, 30), elements=whole_numbers)
scales = st.integers(-300, 300).map(lambda exponent: 10.0**exponent)


# Sparsity


@few_examples
@given(n=st.integers(2, 30), data=st.data())
def test_k_equal_entries_of_n_have_the_sparsity_of_their_square_roots(n, data):
    k = data.draw(st.integers(1, n))
    v = np.where(np.arange(n) < k, 3.0, 0.0)
    expected = (np.sqrt(n) - np.sqrt(k)) / (np.sqrt(n) - 1)
    assert hoyer_sparsity(v) == pytest.approx(expected, abs=1e-12)


@few_examples
@given(v=vectors, scale=scales)
def test_sparsity_lies_from_zero_to_one_and_does_not_depend_on_the_scale(v, scale):
    assume(v.any())
    sparsity = hoyer_sparsity(v)
    assert -1e-12 <= sparsity <= 1 + 1e-12
    assert hoyer_sparsity(scale * v) == pytest.approx(sparsity, abs=1e-9)


@pytest.mark.parametrize("size", [5e-324, 1e308])
def test_the_smallest_and_the_largest_numbers_there_are_do_not_matter_either(size):
    sparsities = hoyer_sparsity([[size, 0, 0], [size, size, size]])
    assert sparsities == pytest.approx([1, 0], abs=1e-12)


def test_a_vector_lies_along_the_last_axis_or_the_one_asked_for(rng):
    values = rng.normal(size=(3, 4, 5))
    one_by_one = [[hoyer_sparsity(v) for v in rows] for rows in values]
    assert hoyer_sparsity(values) == pytest.approx(np.array(one_by_one))
    for axis in (0, 1, -2):
        expected = hoyer_sparsity(np.moveaxis(values, axis, -1))
        assert hoyer_sparsity(values, axis=axis) == pytest.approx(expected)


def test_a_vector_of_zeros_is_nan_and_spoils_no_other():
    sparsities = hoyer_sparsity([[0.0, 0.0], [1.0, 0.0], [-2.0, 2.0]])
    assert sparsities == pytest.approx([np.nan, 1, 0], abs=1e-12, nan_ok=True)


@pytest.mark.parametrize("values", [3.0, [3.0], [[3.0], [4.0]], [], np.ones((0, 1))])
def test_fewer_than_two_entries_are_a_value_error(values):
    with pytest.raises(ValueError, match="values must have at least two entries along axis -1"):
        hoyer_sparsity(values)


# Dead units


def test_a_unit_is_dead_if_it_is_zero_for_every_example():
    activations = [[0.0, 1.0, 0.0, -1.0], [0.0, 0.0, 1e-300, -1.0], [-0.0, 0.0, 0.0, 0.0]]
    assert dead_units(activations).tolist() == [True, False, False, False]


def test_dead_units_are_found_for_each_network_and_in_tensors(rng):
    hidden = torch.tensor(rng.normal(size=(3, 20, 4))).relu()
    hidden[1, :, 2] = 0
    dead = dead_units(hidden)
    assert dead.shape == (3, 4)
    assert np.argwhere(dead).tolist() == [[1, 2]]


# Correlations


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


def test_correlations_are_pearsons_for_each_pair(rng):
    activations = rng.normal(size=(20, 5)) @ rng.normal(size=(5, 5))
    expected = [[pearson(a, b) for a in activations.T] for b in activations.T]
    assert correlations(activations) == pytest.approx(np.array(expected))


@few_examples
@given(
    shift=arrays(float, 4, elements=st.floats(-10, 10)),
    scale=arrays(float, 4, elements=st.floats(0.1, 10)),
    signs=arrays(float, 4, elements=st.sampled_from([-1.0, 1.0])),
)
def test_shift_and_scale_of_a_unit_do_not_matter_and_its_sign_only_turns_signs(shift, scale, signs):
    activations = np.random.default_rng(0).normal(size=(20, 4))
    moved = signs * scale * activations + shift
    expected = np.outer(signs, signs) * correlations(activations)
    assert correlations(moved) == pytest.approx(expected)
    assert mean_correlation(moved) == pytest.approx(mean_correlation(activations))


@few_examples
@given(scale=scales)
def test_tiny_and_huge_units_correlate_as_others_do(scale):
    activations = np.random.default_rng(0).normal(size=(20, 4))
    scaled = activations * [1, scale, scale, 1]
    assert correlations(scaled) == pytest.approx(correlations(activations))


def test_copies_of_a_unit_correlate_fully_and_its_negative_with_minus_one(rng):
    unit = rng.normal(size=20)
    strengths = correlations(np.stack([unit, unit, -unit], axis=1))
    assert strengths == pytest.approx(np.array([[1, 1, -1], [1, 1, -1], [-1, -1, 1]]))
    assert mean_correlation(np.stack([unit, unit, -unit], axis=1)) == pytest.approx(1)


def test_units_without_correlation_have_the_mean_zero_and_one_copy_adds_its_pair():
    activations = linalg.hadamard(8)[:, 1:].astype(float)
    assert mean_correlation(activations) == pytest.approx(0, abs=1e-12)
    with_a_copy = np.column_stack([activations, activations[:, 3]])
    assert mean_correlation(with_a_copy) == pytest.approx(1 / 28)  # of 8 * 7 / 2 pairs


def test_the_mean_is_that_of_the_strengths_over_all_pairs(rng):
    activations = rng.normal(size=(20, 4)) @ rng.normal(size=(4, 4))
    strengths = [
        abs(stats.pearsonr(activations[:, i], activations[:, j]).statistic)
        for i in range(4)
        for j in range(i)
    ]
    mean = mean_correlation(activations)
    assert type(mean) is float
    assert mean == pytest.approx(np.mean(strengths))


@pytest.mark.parametrize("value", [0.0, 0.1, -3e5])
def test_a_unit_that_never_changes_is_left_out(value, rng):
    activations = rng.normal(size=(20, 3))
    with_constant = np.insert(activations, 1, value, axis=1)
    assert correlations(with_constant) == pytest.approx(correlations(activations))
    assert mean_correlation(with_constant) == pytest.approx(mean_correlation(activations))


# Directions


@few_examples
@given(k=st.integers(1, 7), scale=st.floats(0.1, 10), seed=st.integers(0, 100))
def test_variance_spread_evenly_over_k_directions_has_dimension_k(k, scale, seed):
    rotation, _ = np.linalg.qr(np.random.default_rng(seed).normal(size=(7, 7)))
    even = scale * linalg.hadamard(8)[:, 1 : k + 1] @ rotation[:k] + 3
    assert effective_dimension(even) == pytest.approx(k)


def test_its_square_is_that_of_the_eigenvalues_of_the_covariance(rng):
    activations = rng.normal(size=(20, 5)) @ rng.normal(size=(5, 5))
    eigenvalues = np.linalg.eigvalsh(np.cov(activations, rowvar=False))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert effective_dimension(activations) == pytest.approx(expected)
    with pytest.raises(ValueError, match="activations must differ between examples"):
        effective_dimension(np.ones((3, 2)))


# Neighbours


def test_neighbours_correlate_in_patches_not_in_noise_and_oppose_on_a_chessboard(rng):
    rows, columns = np.indices((20, 20))
    chessboard, halves = (-1.0) ** (rows + columns), np.sign(rows - 9.5)
    found = neighbour_correlation([chessboard, halves, 5 + 2 * halves, np.ones((20, 20))])
    patches = (2 * 20 * 19 - 2 * 20) / (2 * 20 * 19)  # all pairs agree but those at the border
    assert found == pytest.approx([-1, patches, patches, np.nan], nan_ok=True)
    noise = neighbour_correlation(rng.normal(size=(400, 20, 20)))
    assert noise.shape == (400,)
    assert is_near(noise.mean(), -1 / 399, noise.std(), 400)  # as the mean is taken out


@pytest.mark.parametrize("shape", [(), (5,), (1, 5), (5, 1)])
def test_images_smaller_than_two_by_two_are_a_value_error(shape):
    with pytest.raises(ValueError, match=r"images must have shape .* at least 2 x 2, got \("):
        neighbour_correlation(np.ones(shape))


both_measures = pytest.mark.parametrize("measure", [correlations, mean_correlation])


@both_measures
@pytest.mark.parametrize("shape", [(0, 5), (1, 5)])
def test_fewer_than_two_examples_are_a_value_error(measure, shape):
    message = (
        f"activations must have shape (examples, units), with two examples or more, got {shape}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        measure(np.ones(shape))


@both_measures
@pytest.mark.parametrize("varying", [0, 1])
def test_fewer_than_two_units_that_vary_are_a_value_error(measure, varying, rng):
    activations = np.ones((5, 3))
    activations[:, :varying] = rng.normal(size=(5, varying))
    message = f"activations must have two units that vary, got {varying}"
    with pytest.raises(ValueError, match=message):
        measure(activations)
