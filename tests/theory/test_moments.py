"""Moments in closed form against enumeration of masks and quadrature."""

import numpy as np
import pytest
from chance import few_examples, keep_probs
from formulas import close, mean_and_variance
from hypothesis import given
from hypothesis import strategies as st
from scipy.integrate import quad
from scipy.special import expit
from scipy.stats import norm

from lib.masks import all_masks, mask_probabilities
from lib.theory.moments import masked_sum_moments, relu_moments, sigmoid_moments

means = st.floats(-50, 50)
stds = st.floats(1e-4, 50)


def under_gaussian(f, mean, std):
    """Mean of f(z), by quadrature; f may have a kink at z = 0."""

    def integrand(t):
        return f(mean + std * t) * np.exp(-(t**2) / 2) / np.sqrt(2 * np.pi)

    kink = np.clip(-mean / std, -12, 12)
    return quad(integrand, -12, 12, points=[kink], limit=200)[0]


# The masked sum


@few_examples
@given(
    n=st.integers(1, 5),
    keep_prob=keep_probs,
    std=st.sampled_from([0, 0.7]),
    seed=st.integers(0, 1000),
    scaling=st.sampled_from(["inverted", "weight"]),
    each_its_own=st.booleans(),
)
def test_the_moments_of_a_masked_sum_are_those_over_all_masks_and_inputs(
    n, keep_prob, std, seed, scaling, each_its_own
):
    rng = np.random.default_rng(seed)
    w, x = rng.normal(size=n), rng.normal(size=n)
    keep = rng.uniform(0.1, 1, n) if each_its_own else np.full(n, keep_prob)
    masks, ups = np.hsplit(all_masks(2 * n), 2)  # an input is x + std or x - std, as likely
    scale = 1 / keep if scaling == "inverted" else 1
    sums = scale * masks * (x + std * (2 * ups - 1)) @ w
    expected = mean_and_variance(sums, mask_probabilities(masks, keep) / 2**n)
    got = masked_sum_moments(
        w, x, keep if each_its_own else keep_prob, input_variance=std**2, scaling=scaling
    )
    close(got, expected, 1e-10)


def test_a_matrix_of_weights_and_a_batch_of_inputs(rng):
    w, x = rng.normal(size=(4, 3)), rng.normal(size=(2, 5, 4))
    mean, variance = masked_sum_moments(w, x, 0.7)
    assert mean.shape == variance.shape == (2, 5, 3)
    close([mean[1, 4, 2], variance[1, 4, 2]], masked_sum_moments(w[:, 2], x[1, 4], 0.7))


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
@given(mean=st.floats(-1e12, 1e12), variance=st.floats(0, 1e-20) | st.floats(0, 1e12))
def test_noise_raises_the_rectified_mean_by_no_more_than_its_own_size(mean, variance):
    got_mean, got_variance = relu_moments(mean, variance)
    assert max(mean, 0) <= got_mean <= max(mean, 0) + np.sqrt(variance)
    assert 0 <= got_variance <= variance


def test_where_next_to_nothing_passes_rounding_makes_no_variance_negative():
    assert (relu_moments(np.linspace(-40, 40, 80_001), 1.0)[1] >= 0).all()


# The logistic unit


@few_examples
@given(mean=means, std=stds)
def test_logistic_moments_are_within_their_bounds_of_quadrature(mean, std):
    expected = under_gaussian(expit, mean, std)
    variance = under_gaussian(lambda z: (expit(z) - expected) ** 2, mean, std)
    got_mean, got_variance = sigmoid_moments(mean, std**2)
    assert abs(got_mean - expected) < (0.011 if std <= 2 else 0.018)
    assert abs(got_variance - variance) < (0.011 if std <= 2 else 0.016)


@pytest.mark.parametrize(("std", "of_mean", "of_variance"), [(2, 0.011, 0.011), (20, 0.018, 0.016)])
def test_the_bounds_of_the_docstring_are_not_much_too_wide(std, of_mean, of_variance):
    nodes = np.linspace(-12, 12, 2001)
    weights = norm.pdf(nodes) / norm.pdf(nodes).sum()
    mean = np.linspace(-4 * std, 4 * std, 81)
    expected, variance = mean_and_variance(expit(mean + std * nodes[:, None]), weights)
    got_mean, got_variance = sigmoid_moments(mean, std**2)
    assert 0.9 * of_mean < abs(got_mean - expected).max() < of_mean
    assert 0.9 * of_variance < abs(got_variance - variance).max() < of_variance


@few_examples
@given(mean=st.floats(-1e6, 1e6), variance=st.floats(0, 1e12))
def test_the_logistic_variance_is_between_none_and_that_of_a_coin(mean, variance):
    m, v = sigmoid_moments(mean, variance)
    assert 0 <= v <= m * (1 - m) <= 0.25
    assert sigmoid_moments(mean, 0) == (expit(mean), 0)
    assert sigmoid_moments(0, variance)[0] == 0.5


@pytest.mark.parametrize("function", [relu_moments, sigmoid_moments])
def test_mean_and_variance_broadcast(function):
    assert np.shape(function(np.zeros(3), np.ones((2, 1)))) == (2, 2, 3)
