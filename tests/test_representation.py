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
from scipy import linalg

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
    sparsities = hoyer_sparsity([[0.0, 0.0], [-1.0, 0.0], [-2.0, 2.0]])
    assert sparsities == pytest.approx([np.nan, 1, 0], abs=1e-12, nan_ok=True)


# Dead units


def test_a_unit_is_dead_if_it_is_zero_for_every_example_of_its_network():
    hidden = np.ones((2, 3, 4))
    hidden[1] = [[0, 1, 0, -1], [0, 0, 1e-300, -1], [-0.0, 0, 0, 0]]
    assert dead_units(torch.tensor(hidden)).tolist() == [[False] * 4, [True, False, False, False]]


# Correlations


def pearson(a, b):
    a, b = a - a.mean(), b - b.mean()
    return (a * b).sum() / np.sqrt((a**2).sum() * (b**2).sum())


def test_correlations_are_pearsons_for_each_pair_and_their_mean_is_that_of_the_strengths(rng):
    activations = rng.normal(size=(20, 5)) @ rng.normal(size=(5, 5)) + 3
    expected = np.array([[pearson(a, b) for a in activations.T] for b in activations.T])
    mean = mean_correlation(activations)
    assert correlations(activations) == pytest.approx(expected)
    assert type(mean) is float
    assert mean == pytest.approx(np.abs(expected[np.triu_indices(5, 1)]).mean())


@few_examples
@given(scale=scales)
def test_tiny_and_huge_units_correlate_as_others_do_and_a_sign_only_turns_signs(scale):
    activations = np.random.default_rng(0).normal(size=(20, 4))
    signs = np.array([1, 1, -1, 1])
    scaled = activations * [1, scale, scale, 1] * signs
    expected = np.outer(signs, signs) * correlations(activations)
    assert correlations(scaled) == pytest.approx(expected)


def test_units_without_correlation_have_the_mean_zero_and_one_copy_adds_its_pair():
    activations = linalg.hadamard(8)[:, 1:].astype(float)
    assert mean_correlation(activations) == pytest.approx(0, abs=1e-12)
    with_a_copy = np.column_stack([activations, activations[:, 3]])
    assert mean_correlation(with_a_copy) == pytest.approx(1 / 28)  # of 8 * 7 / 2 pairs


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


@pytest.mark.parametrize("units", [1, 5])
def test_the_dimension_is_that_of_the_eigenvalues_of_the_covariance(units, rng):
    activations = rng.normal(size=(20, units)) @ rng.normal(size=(units, units))
    eigenvalues = np.linalg.eigvalsh(np.atleast_2d(np.cov(activations, rowvar=False)))
    expected = eigenvalues.sum() ** 2 / (eigenvalues**2).sum()
    assert effective_dimension(activations) == pytest.approx(expected)


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


# Too little to measure


FEW_ENTRIES = "values must have at least two entries along axis -1, got shape {}"
FEW_PIXELS = "images must have shape (..., height, width) of at least 2 x 2, got {}"
NO_EXAMPLES = "activations must have shape (..., examples, units), got {}"
FEW_EXAMPLES = "activations must have shape (examples, units), with two examples or more, got {}"
FEW_THAT_VARY = "activations must have two units that vary, got 0"
ALL_EQUAL = "activations must differ between examples, got all of them equal"


@pytest.mark.parametrize(
    ("measure", "message", "shapes"),
    [
        (hoyer_sparsity, FEW_ENTRIES, [(), (0,), (1,), (2, 1), (0, 1)]),
        (neighbour_correlation, FEW_PIXELS, [(), (5,), (1, 5), (5, 1)]),
        (dead_units, NO_EXAMPLES, [(), (5,)]),
        (correlations, FEW_EXAMPLES, [(0, 5), (1, 5)]),
        (correlations, FEW_THAT_VARY, [(5, 3)]),
        (mean_correlation, FEW_EXAMPLES, [(0, 5), (1, 5)]),
        (effective_dimension, FEW_EXAMPLES, [(0, 5), (1, 5)]),
        (effective_dimension, ALL_EQUAL, [(5, 3)]),
    ],
)
def test_too_few_numbers_or_numbers_that_do_not_vary_are_a_value_error(measure, message, shapes):
    for shape in shapes:
        with pytest.raises(ValueError, match=re.escape(message.format(shape))):
            measure(np.ones(shape))


def test_one_unit_that_varies_has_no_other_to_correlate_with(rng):
    activations = np.ones((5, 3))
    activations[:, 0] = rng.normal(size=5)
    with pytest.raises(ValueError, match="activations must have two units that vary, got 1"):
        correlations(activations)
