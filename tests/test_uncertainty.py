"""What holds for Monte Carlo samples: how likely targets are, how many lie inside, entropies."""

import re
from fractions import Fraction

import numpy as np
import pytest
import torch
from chance import few_examples
from formulas import close, every_mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import array_shapes, arrays
from scipy import optimize, special, stats
from torch import nn

from lib.uncertainty import (
    expected_entropy,
    gal_weight_decay,
    interval_coverage,
    mutual_information,
    predictive_entropy,
    predictive_log_likelihood,
)

several_taus = pytest.mark.parametrize("tau", [0.25, 1.0, 4.0])


# predictive_log_likelihood


@several_taus
@pytest.mark.parametrize("shape", [(4,), (4, 1), (4, 3), (4, 2, 3)])
def test_it_is_the_log_of_the_average_density_and_outputs_of_an_example_multiply(shape, tau, rng):
    samples, targets = rng.normal(size=(6, *shape)), rng.normal(size=shape)
    densities = stats.norm.pdf(targets, loc=samples, scale=tau**-0.5)
    joint = densities.reshape(6, 4, -1).prod(axis=-1)
    likelihood = predictive_log_likelihood(samples, targets, tau)
    assert likelihood.shape == (4,)
    close(likelihood, np.log(joint.mean(axis=0)))


@pytest.mark.parametrize("target", [30.0, 1e3, -1e6])
def test_targets_so_far_away_that_every_density_is_zero_keep_their_likelihood(target, rng):
    samples, targets = torch.tensor(rng.normal(size=(50, 1))), torch.tensor([target])
    for kind in (torch.float32, torch.float64):
        # the closest sample has the largest density; the others only count less
        log_densities = stats.norm.logpdf(target, loc=samples.to(kind).double(), scale=0.1)
        assert not np.exp(log_densities).any()
        expected = special.logsumexp(log_densities) - np.log(50)
        likelihood = predictive_log_likelihood(samples.to(kind), targets.to(kind), 100.0)
        assert likelihood.dtype == kind
        close(likelihood, [expected], 1e-5)


# interval_coverage


LEVELS = [Fraction(1, 2), Fraction(3, 5), Fraction(4, 5), Fraction(9, 10), Fraction(19, 20)]


@pytest.mark.parametrize("level", LEVELS)
@pytest.mark.parametrize("n_samples", [1, 2, 3, 10, 39, 40, 200])
def test_a_target_is_inside_if_its_rank_among_the_samples_is(n_samples, level):
    """Both ends count, without noise: shares of samples below are compared as fractions."""
    samples = torch.arange(n_samples)[:, None]
    tail = (1 - level) / 2
    for below in range(n_samples + 1):
        inside = tail <= Fraction(below, n_samples) <= 1 - tail
        assert interval_coverage(samples, torch.tensor([below - 0.5]), float(level)) == inside


@pytest.mark.parametrize("n_samples", [1, 2, 3, 10, 40])
def test_a_sample_equal_to_the_target_counts_by_half(n_samples):
    targets = torch.arange(n_samples)
    samples = targets[:, None].expand(-1, n_samples)
    shares = [Fraction(2 * below + 1, 2 * n_samples) for below in range(n_samples)]
    for level in LEVELS:
        tail = (1 - level) / 2
        inside = sum(tail <= share <= 1 - tail for share in shares)
        coverage = interval_coverage(samples, targets, float(level))
        assert coverage == pytest.approx(inside / n_samples)


@several_taus
@pytest.mark.parametrize("level", [0.5, 0.95])
def test_with_noise_the_ends_are_quantiles_of_the_average_distribution(level, tau, rng):
    samples = rng.normal(size=(5, 1)) + [[0], [0], [0], [5], [5]]

    def quantile(share):
        def excess(y):
            return stats.norm.cdf(y, loc=samples, scale=tau**-0.5).mean() - share

        return optimize.brentq(excess, -50, 50, xtol=1e-12)

    ends = quantile((1 - level) / 2), quantile((1 + level) / 2)
    for end, inward in zip(ends, (1e-6, -1e-6), strict=True):
        assert interval_coverage(samples, np.array([end + inward]), level, tau) == 1
        assert interval_coverage(samples, np.array([end - inward]), level, tau) == 0


@pytest.mark.parametrize("tau", [None, 2.0])
def test_every_output_of_an_example_counts_and_the_order_of_samples_does_not(tau, rng):
    samples, targets = rng.normal(size=(11, 6, 2, 3)), rng.normal(size=(6, 2, 3))
    coverage = interval_coverage(samples, targets, 0.5, tau)
    assert type(coverage) is float
    assert 0 < coverage < 1
    flat = samples.reshape(11, -1), targets.reshape(-1)
    one_by_one = [interval_coverage(flat[0][:, [i]], flat[1][[i]], 0.5, tau) for i in range(36)]
    assert coverage == pytest.approx(np.mean(one_by_one))
    assert interval_coverage(samples[::-1].copy(), targets, 0.5, tau) == coverage


# Bad input, of both

both_need_targets = pytest.mark.parametrize(
    "function", [predictive_log_likelihood, interval_coverage]
)


@both_need_targets
@pytest.mark.parametrize(
    ("samples", "targets"),
    [((), ()), ((5,), ()), ((5,), (5,)), ((5, 3), (4,)), ((5, 3), (5,)), ((5, 3), (5, 3)),
     ((5, 3, 1), (3,)), ((5, 3), (3, 1)), ((5, 3, 2), (3, 1)), ((5, 3, 2), (1, 2)),
     ((0, 3), (3,)), ((5, 0), (0,)), ((5, 3, 0), (3, 0))],
)  # fmt: skip
def test_shapes_that_do_not_fit_are_a_value_error_that_says_them(function, samples, targets):
    message = (
        "samples and targets must have shapes (n_samples, n, ...) and (n, ...), none empty, "
        f"got {samples} and {targets}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        function(torch.zeros(samples), torch.zeros(targets), tau=1.0)


@both_need_targets
@pytest.mark.parametrize("bad", [float("nan"), float("inf"), -float("inf")])
def test_samples_or_targets_that_are_not_finite_are_a_value_error(function, bad):
    samples, targets = torch.zeros(5, 3), torch.zeros(3)
    samples[2, 1] = samples[4, 0] = bad
    message = "samples must be finite, got NaN or infinity in 2 of 15 values"
    with pytest.raises(ValueError, match=message):
        function(samples, targets, tau=1.0)
    targets[1] = bad
    message = "targets must be finite, got NaN or infinity in 1 of 3 values"
    with pytest.raises(ValueError, match=message):
        function(torch.zeros(5, 3), targets, tau=1.0)


# Entropies

each_entropy = pytest.mark.parametrize(
    "function", [predictive_entropy, expected_entropy, mutual_information]
)


@st.composite
def class_probabilities(draw):
    """Samples of shape (T, ..., classes); large logits make some of them one-hot."""
    shape = draw(array_shapes(min_dims=2, max_dims=4, max_side=6))
    scale = draw(st.sampled_from([0.1, 3, 1000]))
    logits = draw(arrays(float, shape, elements=st.floats(-1, 1)))
    kind = draw(st.sampled_from([torch.float32, torch.float64]))
    return torch.tensor(logits * scale).to(kind).softmax(dim=-1)


@few_examples
@given(samples=class_probabilities())
def test_entropies_are_scipys_and_their_difference_is_the_divergence_from_the_average(samples):
    p = samples.double().numpy()
    average = p.mean(axis=0)
    for function, expected in [
        (predictive_entropy, stats.entropy(average, axis=-1)),
        (expected_entropy, stats.entropy(p, axis=-1).mean(axis=0)),
        (mutual_information, special.rel_entr(p, average).sum(axis=-1).mean(axis=0)),
    ]:
        entropy = function(samples)
        assert entropy.dtype == samples.dtype
        assert entropy.shape == samples.shape[1:-1]
        close(entropy, expected, 1e-6)


@pytest.mark.parametrize("classes", [2, 10, 1000])
@pytest.mark.parametrize("scale", [0.01, 1, 20])
def test_if_all_samples_agree_mutual_information_is_zero_and_never_below(scale, classes):
    one = (scale * torch.randn(500, classes)).softmax(dim=-1)
    information = mutual_information(one.expand(7, 500, classes))
    assert (information >= 0).all()
    close(information, 0, 1e-7)
    close(predictive_entropy(one.expand(7, 500, classes)), expected_entropy(one[None]), 1e-6)


def test_samples_that_are_sure_have_entropy_by_disagreement_alone():
    votes = torch.tensor([[0, 2], [0, 2], [1, 2], [1, 2], [0, 2]])
    for samples in (nn.functional.one_hot(votes, 3), nn.functional.one_hot(votes, 3).float()):
        expected = [stats.entropy([0.6, 0.4]), 0]
        close(predictive_entropy(samples), expected, 1e-6)
        close(mutual_information(samples), expected, 1e-6)
        assert torch.equal(expected_entropy(samples), torch.zeros(2))


NOT_PROBABILITIES = {
    "logits": torch.tensor([[[2.0, -1.0, 3.0]]]),
    "logits whose sum is one": torch.tensor([[[2.0, -1.0, 0.0]]]),
    "logarithms": torch.tensor([[[0.5, 0.3, 0.2]]]).log(),
    "above one": torch.tensor([[[0.5, 0.5, 0.2]]]),
    "below one": torch.tensor([[[0.5, 0.3, 0.1]]]),
    "off by a thousandth": torch.tensor([[[0.5, 0.3, 0.201]]]),
    "one example of many": torch.tensor([[[0.5, 0.5], [0.5, 0.5]], [[0.5, 0.5], [0.5, 0.6]]]),
    "classes first": torch.tensor([[[0.1, 0.2], [0.9, 0.8]]]),
    "negative": torch.tensor([[[1.1, -0.1]]]),
    "NaN": torch.tensor([[[float("nan"), 1.0]]]),
    "infinite": torch.tensor([[[float("inf"), 0.0]]]),
    "zeros": torch.zeros(2, 3, 4),
}


@each_entropy
@pytest.mark.parametrize("samples", NOT_PROBABILITIES.values(), ids=NOT_PROBABILITIES)
def test_samples_that_are_no_probabilities_are_a_value_error_that_says_what_they_are(
    function, samples
):
    sums = samples.sum(dim=-1)
    message = (
        "samples must hold class probabilities, at least 0 and of sum 1, "
        f"got a smallest value of {samples.min():.6g} and sums from "
        f"{sums.min():.6g} to {sums.max():.6g}"
    )
    with pytest.raises(ValueError, match=re.escape(message)):
        function(samples)


@each_entropy
@pytest.mark.parametrize("shape", [(), (3,), (0, 3), (0, 2, 3), (4, 0, 3), (4, 2, 0)])
def test_probabilities_of_another_shape_or_none_are_a_value_error_that_says_it(function, shape):
    message = f"samples must have shape (n_samples, ..., classes), none empty, got {shape}"
    with pytest.raises(ValueError, match=re.escape(message)):
        function(torch.zeros(shape))


# gal_weight_decay


@few_examples
@given(length_scale=st.floats(0.1, 10), tau=st.floats(0.01, 100), n_train=st.integers(1, 20))
def test_without_dropout_the_penalized_weights_are_the_mean_of_the_posterior(
    length_scale, tau, n_train
):
    """Weights and targets are jointly normal: w ~ N(0, I / l^2), y ~ N(X w, I / tau)."""
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(n_train, 4)), rng.normal(size=n_train)
    prior = np.eye(4) / length_scale**2
    of_targets = X @ prior @ X.T + np.eye(n_train) / tau
    posterior_mean = prior @ X.T @ np.linalg.solve(of_targets, y)
    # where the mean of (y - X w)^2 / 2, plus decay |w|^2, is smallest
    decay = gal_weight_decay(1, length_scale, n_train, tau)
    penalized = np.linalg.solve(X.T @ X / n_train + 2 * decay * np.eye(4), X.T @ y / n_train)
    close(penalized, posterior_mean, 1e-8)


@pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.9, 1])
def test_with_dropout_it_is_the_log_prior_of_the_masked_weights_on_average(keep_prob, rng):
    w, length_scale, n_train, tau = rng.normal(size=5), 0.7, 30, 2.0
    masks, probabilities = every_mask(5, keep_prob)
    log_priors = stats.norm.logpdf(masks * w, scale=1 / length_scale).sum(axis=1)
    at_zero = stats.norm.logpdf(np.zeros(5), scale=1 / length_scale).sum()
    of_one_example = probabilities @ (at_zero - log_priors) / n_train
    decay = gal_weight_decay(keep_prob, length_scale, n_train, tau)
    assert type(decay) is float
    close(decay * w @ w, of_one_example / tau)
