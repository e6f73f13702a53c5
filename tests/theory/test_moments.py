"""Moments in closed form against enumeration of masks and quadrature."""

import numpy as np
import pytest
from chance import few_examples, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from scipy import integrate
from scipy.special import expit
from scipy.stats import norm

from lib.masks import all_masks, mask_probabilities
from lib.theory.moments import masked_sum_moments, relu_moments, sigmoid_moments

means = st.floats(-50, 50)
stds = st.floats(1e-4, 50)


def mean_and_variance(values, probabilities):
    mean = probabilities @ values
    return mean, probabilities @ (values - mean) ** 2


def under_gaussian(f, mean, std):
    """Mean of f(z), by quadrature; f may have a kink at z = 0."""
    pieces = np.unique(np.clip([-12, -mean / std, 12], -12, 12))
    pieces = np.concatenate(
        [np.linspace(a, b, 20) for a, b in zip(pieces[:-1], pieces[1:], strict=True)]
    )
    nodes, weights = np.polynomial.legendre.leggauss(30)
    half = np.diff(pieces)[:, None] / 2
    t = (pieces[:-1, None] + half) + half * nodes
    return (half * weights * f(mean + std * t) * norm.pdf(t)).sum()


def test_the_quadrature_of_these_tests_agrees_with_scipys():
    expected, _ = integrate.quad(lambda z: expit(z) * norm.pdf(z, 0.7, 1.3), -15, 15)
    assert np.isclose(under_gaussian(expit, 0.7, 1.3), expected, atol=1e-10)


# The masked sum


@few_examples
@given(
    n=st.integers(1, 12),
    keep_prob=keep_probs,
    seed=st.integers(0, 1000),
    scaling=st.sampled_from(["inverted", "weight"]),
)
def test_the_moments_of_a_masked_sum_are_those_over_all_masks(n, keep_prob, seed, scaling):
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=n), rng.normal(size=n)
    scale = 1 / keep_prob if scaling == "inverted" else 1
    sums = scale * all_masks(n) * x @ w
    expected = mean_and_variance(sums, mask_probabilities(all_masks(n), keep_prob))
    got = masked_sum_moments(w, x, keep_prob, scaling=scaling)
    np.testing.assert_allclose(got, expected, rtol=1e-10, atol=1e-10)


def test_each_input_can_have_a_keep_probability_of_its_own():
    w, x, keep = np.array([1.0, -2.0, 3.0]), np.array([0.5, 1.5, -1.0]), np.array([0.2, 0.5, 0.9])
    sums, chances = all_masks(3) * x @ w, mask_probabilities(all_masks(3), keep)
    got = masked_sum_moments(w, x, keep, scaling="weight")
    np.testing.assert_allclose(got, mean_and_variance(sums, chances), atol=1e-12)


@pytest.mark.parametrize("scaling", ["inverted", "weight"])
def test_inputs_that_are_random_themselves_add_their_variance(scaling):
    # each input is mean +- std with equal chance: both signs and masks are enumerated
    w, mean, std, keep_prob = np.array([1.0, -2.0, 0.5]), np.array([1.0, 0.5, 0]), 0.7, 0.4
    both = all_masks(6)
    scale = 1 / keep_prob if scaling == "inverted" else 1
    sums = scale * both[:, :3] * (mean + std * (2 * both[:, 3:] - 1)) @ w
    chances = mask_probabilities(both, np.array([keep_prob] * 3 + [0.5] * 3))
    got = masked_sum_moments(w, mean, keep_prob, input_variance=std**2, scaling=scaling)
    np.testing.assert_allclose(got, mean_and_variance(sums, chances), atol=1e-12)


def test_a_matrix_of_weights_and_a_batch_of_inputs():
    rng = np.random.default_rng(0)
    w, x = rng.normal(size=(4, 3)), rng.normal(size=(2, 5, 4))
    mean, variance = masked_sum_moments(w, x, 0.7)
    assert mean.shape == variance.shape == (2, 5, 3)
    one = masked_sum_moments(w[:, 2], x[1, 4], 0.7)
    np.testing.assert_allclose([mean[1, 4, 2], variance[1, 4, 2]], one)


# The rectified unit


@few_examples
@given(mean=means, std=stds)
def test_rectified_moments_are_those_of_quadrature(mean, std):
    scale = max(1, abs(mean), std)
    got_mean, got_variance = relu_moments(mean, std**2)
    expected = under_gaussian(lambda z: np.maximum(z, 0), mean, std)
    variance = under_gaussian(lambda z: (np.maximum(z, 0) - expected) ** 2, mean, std)
    assert abs(got_mean - expected) <= 1e-8 * scale
    assert abs(got_variance - variance) <= 1e-8 * scale**2


@pytest.mark.parametrize("mean", [-1e300, -3.0, -1e-300, 0.0, 1e-300, 2.0, 1e300])
def test_without_variance_it_is_the_rectifier(mean):
    assert relu_moments(mean, 0.0) == (max(mean, 0), 0)


@few_examples
@given(mean=st.floats(-1e6, 1e6), variance=st.floats(0, 1e-20))
def test_a_tiny_variance_changes_next_to_nothing(mean, variance):
    got_mean, got_variance = relu_moments(mean, variance)
    assert abs(got_mean - max(mean, 0)) <= np.sqrt(variance)
    assert 0 <= got_variance <= variance


@few_examples
@given(mean=st.floats(-1e12, 1e12), variance=st.floats(0, 1e12))
def test_the_rectified_mean_is_at_least_the_rectifier_of_the_mean(mean, variance):
    got_mean, got_variance = relu_moments(mean, variance)
    assert got_mean >= max(mean, 0)
    assert 0 <= got_variance <= variance


# The logistic unit


@few_examples
@given(mean=means, std=stds)
def test_logistic_moments_are_within_their_bounds_of_quadrature(mean, std):
    expected = under_gaussian(expit, mean, std)
    variance = under_gaussian(lambda z: (expit(z) - expected) ** 2, mean, std)
    got_mean, got_variance = sigmoid_moments(mean, std**2)
    assert abs(got_mean - expected) < (0.011 if std <= 2 else 0.018)
    assert abs(got_variance - variance) < (0.011 if std <= 2 else 0.016)


def test_the_bounds_of_the_docstrings_hold_on_a_grid_and_are_not_much_too_wide():
    nodes = np.linspace(-12, 12, 2001)
    weights = norm.pdf(nodes) / norm.pdf(nodes).sum()
    for std, mean_bound, variance_bound in [(2, 0.011, 0.011), (20, 0.018, 0.016)]:
        mean = np.linspace(-4 * std, 4 * std, 81)
        outputs = expit(mean[:, None] + std * nodes)
        expected = outputs @ weights
        variance = outputs**2 @ weights - expected**2
        got_mean, got_variance = sigmoid_moments(mean, std**2)
        assert 0.9 * mean_bound < abs(got_mean - expected).max() < mean_bound
        assert 0.9 * variance_bound < abs(got_variance - variance).max() < variance_bound


@few_examples
@given(mean=st.floats(-1e6, 1e6), variance=st.floats(0, 1e12))
def test_the_logistic_variance_is_between_none_and_that_of_a_coin(mean, variance):
    m, v = sigmoid_moments(mean, variance)
    assert 0 <= v <= m * (1 - m) <= 0.25
    assert sigmoid_moments(mean, 0) == (expit(mean), 0)
    assert sigmoid_moments(0, variance)[0] == 0.5


# Arguments


@pytest.mark.parametrize("function", [relu_moments, sigmoid_moments])
def test_mean_and_variance_broadcast_or_are_a_value_error(function):
    assert np.shape(function(np.zeros(3), np.ones((2, 1))))[-2:] == (2, 3)
    with pytest.raises(ValueError, match=r"shapes that broadcast, got \(2,\) and \(3,\)"):
        function(np.zeros(2), np.ones(3))


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (([1.0], [1.0, 2.0], 0.5), "weights and inputs must have shapes"),
        ((1.0, [1.0], 0.5), "weights and inputs must have shapes"),
        (([1.0], 1.0, 0.5), "weights and inputs must have shapes"),
        (([1.0, 1.0], [1.0, 2.0], [0.5]), "keep_prob must be one number or have shape"),
    ],
)
def test_shapes_that_do_not_fit_are_named(arguments, message):
    with pytest.raises(ValueError, match=message):
        masked_sum_moments(*arguments)
    with pytest.raises(ValueError, match="input_variance must broadcast"):
        masked_sum_moments([1.0], [1.0], 0.5, input_variance=[1.0, 2.0])
