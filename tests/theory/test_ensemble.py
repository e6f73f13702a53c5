"""What holds for averages of predictors, and for all sub-networks of a network."""

import itertools

import numpy as np
import pytest
from chance import few_examples, keep_probs
from formulas import close, every_mask
from hypothesis import given
from hypothesis import strategies as st

from lib.masks import all_masks
from lib.theory.ensemble import average_variance, bias_variance, ensemble_mean, subnetwork_outputs
from lib.theory.nwgm import nwgm, taylor_estimate

# All sub-networks


@pytest.mark.parametrize("chunk", [1, 3, 7, 32, 33, 10**6])
def test_every_mask_is_run_once_in_the_order_of_counting_however_many_at_once(chunk, rng):
    W, seen = rng.normal(size=(5, 4)), []

    def forward(masks):
        seen.append(len(masks))
        return np.tanh(masks @ W)

    outputs = subnetwork_outputs(forward, 5, chunk=chunk)
    close(outputs, np.tanh(all_masks(5) @ W), 1e-15)
    assert max(seen) == min(chunk, 32)
    assert sum(seen) == 32


# Their mean, and what else is an average


@few_examples
@given(keep_prob=keep_probs, n=st.integers(1, 8), seed=st.integers(0, 100))
def test_the_mean_of_linear_sub_networks_is_the_weight_scaled_network(keep_prob, n, seed):
    W = np.random.default_rng(seed).normal(size=(n, 3))
    outputs = subnetwork_outputs(lambda masks: masks @ W, n)
    _, probabilities = every_mask(n, keep_prob)
    close(ensemble_mean(outputs, probabilities), keep_prob * W.sum(axis=0))


def test_each_output_has_its_own_probability():
    assert ensemble_mean([[1.0, 2.0], [3.0, -4.0]], [0.25, 0.75]).tolist() == [2.5, -2.5]
    assert ensemble_mean([[1.0, 2.0], [3.0, -4.0]], [0, 1]).tolist() == [3.0, -4.0]


averages = pytest.mark.parametrize("average", [ensemble_mean, nwgm, taylor_estimate])


@averages
def test_each_of_several_units_is_taken_by_itself(average, rng):
    outputs, probabilities = rng.uniform(size=(5, 2, 3)), rng.dirichlet(np.ones(5))
    together = average(outputs, probabilities)
    assert together.shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        close(together[i, j], average(outputs[:, i, j], probabilities))
    assert isinstance(average(outputs[:, 0, 0], probabilities), float)


@averages
def test_probabilities_that_sum_to_one_but_for_rounding_will_do(average):
    probabilities = np.full(10, 0.1)
    assert probabilities.cumsum()[-1] != 1
    outputs = np.linspace(0.1, 0.3, 10)
    close(average(outputs, probabilities * (1 + 1e-11)), average(outputs, probabilities), 1e-9)


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


@pytest.mark.parametrize("sets", [2, 3])
def test_over_all_choices_of_training_sets_the_estimates_are_free_of_bias(sets):
    """A line through 0 fits y = x^2 + e at x = 1, 2, 3, with e = -1 or 1, either as likely."""
    x = np.array([1.0, 2.0, 3.0])
    truth = x**2
    slopes = (truth + 2 * all_masks(3) - 1) @ x / (x @ x)
    fits = slopes[:, None] * x  # after each training set there is
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
    assert average_variance(0.0, 0.0, 3) == 0
