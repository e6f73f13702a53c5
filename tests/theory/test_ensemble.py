"""What holds for averages of predictors, and for all sub-networks of a network."""

import itertools
import re

import numpy as np
import pytest
from chance import few_examples, keep_probs
from hypothesis import given
from hypothesis import strategies as st

from lib.masks import all_masks, mask_probabilities
from lib.theory.ensemble import (
    average_variance,
    bias_variance,
    ensemble_mean,
    subnetwork_outputs,
)
from lib.theory.nwgm import nwgm, taylor_estimate


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(one, other, tolerance=1e-12):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


# All sub-networks


@pytest.mark.parametrize("n_units", [1, 2, 5, 10])
def test_every_mask_is_run_once_in_the_order_of_counting(n_units):
    masks = subnetwork_outputs(lambda masks: masks, n_units)
    assert masks.tolist() == [list(mask) for mask in itertools.product((0, 1), repeat=n_units)]


@pytest.mark.parametrize("chunk", [1, 3, 7, 32, 33, 10**6])
def test_how_many_masks_are_run_at_once_does_not_matter(chunk, rng):
    W, seen = rng.normal(size=(5, 4)), []

    def forward(masks):
        seen.append(len(masks))
        return np.tanh(masks @ W)

    outputs = subnetwork_outputs(forward, 5, chunk=chunk)
    close(outputs, np.tanh(all_masks(5) @ W), 1e-15)
    assert max(seen) == min(chunk, 32)
    assert sum(seen) == 32


@pytest.mark.parametrize(
    "forward",
    [lambda masks: 1.0, lambda masks: masks.sum(), lambda masks: masks.T, lambda masks: masks[1:]],
)
def test_a_network_that_does_not_answer_each_mask_is_a_value_error(forward):
    shape = np.shape(forward(all_masks(3)))
    message = f"forward must return an output for each of 8 masks, got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        subnetwork_outputs(forward, 3)


# Their mean


@few_examples
@given(keep_prob=keep_probs, n=st.integers(1, 8), seed=st.integers(0, 100))
def test_the_mean_of_linear_sub_networks_is_the_weight_scaled_network(keep_prob, n, seed):
    W = np.random.default_rng(seed).normal(size=(n, 3))
    outputs = subnetwork_outputs(lambda masks: masks @ W, n)
    mean = ensemble_mean(outputs, mask_probabilities(all_masks(n), keep_prob))
    close(mean, keep_prob * W.sum(axis=0))


def test_each_keeps_its_own_probability_and_its_place(rng):
    outputs, probabilities = rng.normal(size=(5, 2, 3)), rng.dirichlet(np.ones(5))
    mean = ensemble_mean(outputs, probabilities)
    assert mean.shape == (2, 3)
    close(mean, sum(p * output for p, output in zip(probabilities, outputs, strict=True)))
    assert isinstance(ensemble_mean(outputs[:, 0, 0], probabilities), float)
    assert ensemble_mean([[1.0, 2.0], [3.0, -4.0]], [0, 1]).tolist() == [3.0, -4.0]


# Bad probabilities, said in one voice to all who take them

takes_probabilities = pytest.mark.parametrize("use", [ensemble_mean, nwgm, taylor_estimate])


@takes_probabilities
@pytest.mark.parametrize(
    ("probabilities", "total"),
    [([0.5, 0.4], "0.9"), ([0.5, 0.500000005], "1.000000005"), ([0, 0], "0"), ([25, 75], "100")],
)
def test_probabilities_that_do_not_sum_to_one_are_a_value_error(use, probabilities, total):
    with pytest.raises(ValueError, match=f"probabilities must sum to 1, got the sum {total}$"):
        use([0.3, 0.9], probabilities)
    with pytest.raises(ValueError, match="probabilities must sum to 1, got the sum 0$"):
        use([], [])


@takes_probabilities
def test_rounding_is_forgiven(use):
    probabilities = np.full(10, 0.1)
    assert probabilities.cumsum()[-1] != 1
    outputs = np.linspace(0.1, 0.3, 10)
    close(use(outputs, probabilities * (1 + 1e-11)), use(outputs, probabilities), 1e-9)


@takes_probabilities
@pytest.mark.parametrize(
    ("outputs", "probabilities"),
    [((3,), (2,)), ((2,), (3,)), ((2, 3), (3,)), ((), (1,))],
)
def test_unequal_lengths_are_a_value_error_that_says_them(use, outputs, probabilities):
    message = (
        "probabilities must have shape (m,) and outputs (m, ...), "
        f"got {probabilities} and {outputs}"
    )
    weights = np.full(probabilities, 1 / max(1, np.prod(probabilities)))
    with pytest.raises(ValueError, match=re.escape(message)):
        use(np.full(outputs, 0.5), weights)


# Bias, variance and noise


@few_examples
@given(sets=st.integers(2, 6), noise=st.floats(0, 5), seed=st.integers(0, 100))
def test_the_three_add_up_exactly_to_the_mean_squared_error_and_the_noise(sets, noise, seed):
    rng = np.random.default_rng(seed)
    predictions, targets = rng.normal(size=(sets, 4, 2)), rng.normal(size=(4, 2))
    parts = bias_variance(predictions, targets, noise)
    assert parts.bias_squared.shape == parts.variance.shape == (4, 2)
    assert parts.noise == noise
    close(parts.error, np.mean((predictions - targets) ** 2, axis=0) + noise)
    close(parts.error, parts.bias_squared + parts.variance + parts.noise)


def fits_of_all_training_sets():
    """Points, true values, and what a line through 0 predicts after each training set there is.

    The targets are y = x^2 + e at x = 1, 2, 3, with e = -1 or 1, either as likely.
    """
    x = np.array([1.0, 2.0, 3.0])
    targets = x**2 + (2 * all_masks(3) - 1)
    slopes = targets @ x / (x @ x)
    return x**2, slopes[:, None] * x


@pytest.mark.parametrize("sets", [2, 3])
def test_over_all_choices_of_training_sets_the_estimates_are_free_of_bias(sets):
    truth, fits = fits_of_all_training_sets()
    chosen = np.array(list(itertools.product(range(8), repeat=sets)))  # (choices, sets)
    several = fits[chosen.T]  # (sets, choices, points)
    parts = bias_variance(several, np.broadcast_to(truth, several.shape[1:]), noise=1.0)
    bias_squared, variance = (fits.mean(axis=0) - truth) ** 2, fits.var(axis=0)
    assert (bias_squared > 0.1).all()
    assert (variance > 0.05).all()
    close(parts.bias_squared.mean(axis=0), bias_squared)
    close(parts.variance.mean(axis=0), variance)
    errors = [(truth + e - fits) ** 2 for e in (-1, 1)]  # of fresh targets
    close(parts.error.mean(axis=0), np.mean(errors, axis=(0, 1)))


@pytest.mark.parametrize("shape", [(), (0,), (1,), (1, 5)])
def test_fewer_than_two_training_sets_are_a_value_error(shape):
    message = f"predictions must hold those of at least two training sets, got shape {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        bias_variance(np.ones(shape), np.ones(shape[1:]))


@pytest.mark.parametrize(
    ("predictions", "targets"),
    [((3, 4), (3,)), ((3, 4), ()), ((3, 4), (4, 1)), ((3, 4), (1,)), ((3,), (3,)),
     ((3, 2, 4), (4,))],
)  # fmt: skip
def test_targets_of_another_shape_are_a_value_error(predictions, targets):
    message = (
        "predictions and targets must have shapes (sets, ...) and (...), "
        f"got {predictions} and {targets}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        bias_variance(np.ones(predictions), np.ones(targets))


# The variance of a mean


@few_examples
@given(k=st.integers(1, 12), variance=st.floats(0, 100), share=st.floats(0, 1))
def test_it_is_that_of_the_matrix_of_covariances(k, variance, share):
    lowest = -variance / max(1, k - 1)
    covariance = lowest + share * (variance - lowest)
    C = np.full((k, k), covariance)
    np.fill_diagonal(C, variance)
    close(average_variance(variance, covariance, k), np.ones(k) @ C @ np.ones(k) / k**2, 1e-10)


@pytest.mark.parametrize("k", range(2, 50))
def test_opposed_as_far_as_can_be_their_errors_cancel_and_no_variance_is_negative(k):
    assert 0 <= average_variance(1.0, -1 / (k - 1), k) < 1e-15


def test_at_both_ends_rounding_is_forgiven():
    more = 0.1 + 0.2
    assert more > 0.3
    assert average_variance(0.3, more, 4) == pytest.approx(0.3)
    assert average_variance(0.9, -more, 4) == pytest.approx(0, abs=1e-15)


@pytest.mark.parametrize(
    ("variance", "covariance", "k", "lowest"),
    [(1.0, 1.001, 3, "-0.5"), (1.0, -0.501, 3, "-0.5"), (2.0, -2.1, 2, "-2"), (2.0, 2.1, 1, "-2")],
)
def test_a_covariance_that_cannot_be_is_a_value_error(variance, covariance, k, lowest):
    message = (
        f"covariance must lie between {lowest} and the variance {variance:g}, got {covariance}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        average_variance(variance, covariance, k)


@pytest.mark.parametrize("covariance", [-0.1, 0.1])
def test_predictors_that_never_vary_have_no_covariance(covariance):
    assert average_variance(0.0, 0.0, 3) == 0
    with pytest.raises(ValueError, match=f"covariance must lie between .* got {covariance}"):
        average_variance(0.0, covariance, 3)
