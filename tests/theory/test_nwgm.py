"""What holds for the normalized geometric mean, and for the gradient under dropout."""

import warnings

import numpy as np
import pytest
import torch
from chance import few_examples, keep_probs
from formulas import close, every_mask, mean_and_variance
from hypothesis import example, given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit
from torch.autograd.functional import jacobian
from torch.nn.functional import logsigmoid

from lib.theory.ensemble import ensemble_mean
from lib.theory.nwgm import (
    dropout_gradient,
    ensemble_gradient,
    nwgm,
    rigorous_bound,
    taylor_estimate,
    weight_decay_term,
)


@st.composite
def distributions(draw, low=0.0, high=1.0):
    """Outputs (or sums) and their probabilities."""
    outputs = draw(st.lists(st.floats(low, high), min_size=1, max_size=8))
    shares = draw(arrays(float, len(outputs), elements=st.floats(0.01, 1)))
    return np.array(outputs), shares / shares.sum()


inside = distributions(1e-9, 1 - 1e-9)


# The normalized geometric mean is the output at the mean sum


@few_examples
@given(distribution=distributions(-690, 5))  # above 5 an output lacks too little to 1
def test_it_is_the_output_at_the_mean_sum(distribution):
    sums, probabilities = distribution
    mean = nwgm(expit(sums), probabilities)
    close(mean, expit(probabilities @ sums))
    close(logit(mean), probabilities @ sums)  # even the smallest outputs, of 1e-300, keep digits


@few_examples
@given(distribution=inside)
def test_it_is_the_geometric_mean_over_itself_and_that_of_the_complements(distribution):
    outputs, probabilities = distribution
    G, lack = np.prod(outputs**probabilities), np.prod((1 - outputs) ** probabilities)
    close(nwgm(outputs, probabilities), G / (G + lack), 1e-10)


@few_examples
@given(distribution=inside)
def test_it_lies_among_the_outputs(distribution):
    outputs, _ = distribution
    assert outputs.min() - 1e-15 <= nwgm(*distribution) <= outputs.max() + 1e-15


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [([0.0, 0.5], 0), ([1.0, 0.5], 1), ([0.0, 0.0], 0), ([1.0, 1.0], 1), ([0.0, 1.0], np.nan)],
)
def test_one_output_of_zero_or_one_decides_and_both_leave_nothing_to_say(outputs, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_equal(nwgm(outputs, [0.001, 0.999]), expected)
        of_two = nwgm(np.transpose([outputs, [0.25, 0.25]]), [0.5, 0.5])
    np.testing.assert_allclose(of_two, [expected, 0.25])


@pytest.mark.parametrize("never", [0.0, 1.0, 0.99])
def test_an_output_of_probability_zero_does_not_count(never):
    close(nwgm([0.2, never, 0.6], [0.5, 0, 0.5]), nwgm([0.2, 0.6], [0.5, 0.5]))
    assert nwgm([0.0, never, 0.6], [0.5, 0, 0.5]) == 0
    assert nwgm([1.0, never, 0.6], [0.5, 0, 0.5]) == 1


@few_examples
@given(low=distributions(0, 0.5))
def test_below_one_half_it_is_at_most_the_mean_and_above_at_least(low):
    outputs, probabilities = low
    mean = ensemble_mean(outputs, probabilities)
    assert nwgm(outputs, probabilities) <= mean + 1e-15
    assert nwgm(1 - outputs, probabilities) >= 1 - mean - 1e-15


# How far it is from the mean: an estimate


@few_examples
@given(distribution=distributions())
def test_the_estimate_is_that_of_mean_and_variance(distribution):
    E, V = mean_and_variance(*distribution)
    close(taylor_estimate(*distribution), V * abs(1 - 2 * E) / (1 - 2 * V))
    close(taylor_estimate(*distribution, around="half"), taylor_estimate(*distribution))
    if 1e-6 < E < 1 - 1e-6:
        around_mean = taylor_estimate(*distribution, around="mean")
        close(around_mean, V * abs(1 - 2 * E) / (2 * E * (1 - E)))


def test_it_is_no_bound():
    outputs, probabilities = np.array([0.3, 0.9]), np.array([2 / 3, 1 / 3])
    E = ensemble_mean(outputs, probabilities)
    assert pytest.approx(0.5) == E
    assert nwgm(outputs, probabilities) == pytest.approx(0.5418, abs=5e-5)
    assert taylor_estimate(outputs, probabilities) < 1e-15
    assert 2 * E * (1 - E) * abs(1 - 2 * E) < 1e-15


@few_examples
@given(distribution=distributions())
def test_it_is_what_follows_from_geometric_means_to_second_order_around_one_half(distribution):
    outputs, probabilities = distribution

    def geometric_mean(u):
        return (1 + probabilities @ (2 * u - 2 * u**2) + (probabilities @ (2 * u)) ** 2 / 2) / 2

    G, lack = geometric_mean(outputs - 0.5), geometric_mean(0.5 - outputs)
    close(taylor_estimate(outputs, probabilities), abs(G / (G + lack) - probabilities @ outputs))


@pytest.mark.parametrize(
    ("d", "probabilities"),
    [([-1, 0.5, 2], [0.3, 0.5, 0.2]), ([-2, 1, 1.5], [0.5, 0.3, 0.2]), ([0, 1], [0.5, 0.5])],
)
def test_near_one_half_both_are_of_third_order_but_they_are_not_the_same(d, probabilities):
    d, probabilities = np.array(d), np.array(probabilities)
    mean, variance = mean_and_variance(d, probabilities)
    third = probabilities @ (d - mean) ** 3
    exact, estimate = 4 * mean * variance + 4 / 3 * third, 2 * abs(mean) * variance
    for eps, tolerance in [(0.02, 0.02), (0.005, 0.002)]:
        outputs = 0.5 + eps * d
        gap = nwgm(outputs, probabilities) - probabilities @ outputs
        close(gap / eps**3 / exact, 1, tolerance)
        close(taylor_estimate(outputs, probabilities) / eps**3 / estimate, 1, tolerance)
    assert abs(exact) / estimate > 1.5


@pytest.mark.parametrize("mean", [0.1, 0.3, 0.8])
def test_expanded_around_the_mean_the_estimate_is_right_to_leading_order(mean):
    probabilities = np.array([0.5, 0.3, 0.2])
    shape = np.array([1.0, -2.0, 0.5])  # of mean 0, and not symmetric
    misses = []
    for spread in (1e-2, 1e-3):
        outputs = mean + spread * shape
        gap = abs(probabilities @ outputs - nwgm(outputs, probabilities))
        misses.append(abs(taylor_estimate(outputs, probabilities, around="mean") / gap - 1))
    assert misses[1] < 0.02
    assert misses[1] < misses[0] / 5  # what is left out is smaller by one order


def test_around_the_mean_of_zeros_the_estimate_is_nan():
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for output in (0.0, 1.0):
            assert np.isnan(taylor_estimate([output, output], [0.5, 0.5], around="mean"))


# How far it is from the mean: a bound


@pytest.mark.parametrize("scale", [1e-3, 0.1, 0.5, 1, 2, 4, 20, 1e3, 1e6])
def test_the_bound_holds(scale, rng):
    for n in (1, 2, 4, 8):
        for _ in range(25):
            keep_prob = rng.uniform(0.05, 1, size=n)
            W, b = rng.normal(0, scale, size=(n, 20)), rng.normal(0, scale, size=20)
            masks, probabilities = every_mask(n, keep_prob)
            sums = masks @ W + b
            mean, variance = mean_and_variance(sums, probabilities)
            bound = rigorous_bound(variance)
            assert bound.shape == (20,)
            distance = np.abs(probabilities @ expit(sums) - expit(mean))
            assert (distance <= bound * (1 + 1e-9) + 1e-15).all()


def test_its_constant_is_half_the_largest_curvature_of_the_sigmoid():
    def curvature(s):
        return expit(s) * (1 - expit(s)) * (1 - 2 * expit(s))

    steepest = minimize_scalar(lambda s: -curvature(s), bounds=(-5, 0), method="bounded")
    assert -steepest.fun == pytest.approx(1 / (6 * np.sqrt(3)), rel=1e-9)
    assert rigorous_bound(1.0) == pytest.approx(-steepest.fun / 2, rel=1e-9)
    assert np.abs(curvature(np.linspace(-50, 50, 100_001))).max() <= 2 * rigorous_bound(1.0)
    # no smaller constant will do: a unit with little variance there has all of it
    sums, probabilities = steepest.x + 0.01 * np.array([-1, 1]), np.array([0.5, 0.5])
    gap = probabilities @ expit(sums) - expit(steepest.x)
    assert gap == pytest.approx(rigorous_bound(1e-4), rel=1e-3)


# The gradient under dropout

UNITS, SCALINGS = ["sigmoid", "linear"], ["weight", "inverted"]


@st.composite
def problems(draw):
    """Weights, inputs, a target in [0, 1] and keep probabilities."""
    n = draw(st.integers(1, 6))
    numbers = arrays(float, n, elements=st.floats(-3, 3))
    keep_prob = draw(st.one_of(keep_probs, arrays(float, n, elements=st.floats(0.1, 1))))
    return draw(numbers), draw(numbers), draw(st.floats(0, 1)), keep_prob


ALL_KEPT = np.array([0.5, -2.0]), np.array([1.0, 3.0]), 0.3, 1


def losses(w, x, target, keep_prob, unit, scaling):
    """The loss under dropout, averaged over all masks, and that at the mean sum."""

    def loss(S):
        if unit == "linear":
            return (S - target) ** 2 / 2
        return -(target * logsigmoid(S) + (1 - target) * logsigmoid(-S))

    masks, probabilities = every_mask(len(x), keep_prob)
    scaled = x / keep_prob if scaling == "inverted" else x
    sums, mean_sum = torch.tensor(masks * scaled) @ w, torch.tensor(keep_prob * scaled) @ w
    return torch.tensor(probabilities) @ loss(sums), loss(mean_sum)


@few_examples
@given(problem=problems(), unit=st.sampled_from(UNITS), scaling=st.sampled_from(SCALINGS))
@example(problem=ALL_KEPT, unit="sigmoid", scaling="inverted")
def test_gradients_are_derivatives_of_their_losses(problem, unit, scaling):
    w, *others = problem
    options = {"unit": unit, "scaling": scaling}
    of_dropout, of_ensemble = jacobian(lambda w: losses(w, *others, **options), torch.tensor(w))
    close(dropout_gradient(*problem, **options), of_dropout, 1e-10)
    close(ensemble_gradient(*problem, **options), of_ensemble, 1e-10)


@few_examples
@given(problem=problems(), target=st.floats(-5, 5), scaling=st.sampled_from(SCALINGS))
@example(problem=ALL_KEPT, target=-7.0, scaling="weight")
def test_for_a_linear_unit_dropout_adds_exactly_the_weight_decay_term(problem, target, scaling):
    w, x, _, keep_prob = problem
    options = {"unit": "linear", "scaling": scaling}
    whole = dropout_gradient(w, x, target, keep_prob, **options)
    decay = weight_decay_term(w, x, keep_prob, **options)
    close(whole, ensemble_gradient(w, x, target, keep_prob, **options) + decay)


@few_examples
@given(problem=problems(), scaling=st.sampled_from(SCALINGS))
def test_for_a_sigmoid_unit_it_is_smaller_by_the_slope_at_the_mean_sum(problem, scaling):
    w, x, _, keep_prob = problem
    sigmoid, linear = (weight_decay_term(w, x, keep_prob, unit=u, scaling=scaling) for u in UNITS)
    mean_sum = np.sum((keep_prob if scaling == "weight" else 1) * w * x)
    close(sigmoid, linear / (np.exp(mean_sum) + 2 + np.exp(-mean_sum)))


def added_to_gradient(w, x, target, keep_prob, **options):
    """What dropout adds to the gradient of a sigmoid unit, and what of it is not decay."""
    added = dropout_gradient(w, x, target, keep_prob, **options)
    added = added - ensemble_gradient(w, x, target, keep_prob, **options)
    return added, added - weight_decay_term(w, x, keep_prob, **options)


@pytest.mark.parametrize("scaling", SCALINGS)
def test_for_a_sigmoid_unit_what_is_missing_is_of_third_order_in_the_weights(scaling, rng):
    for _ in range(5):
        w, *others = *rng.normal(size=(2, 5)), 0.3, rng.uniform(0.2, 0.9, size=5)
        large, small, half = (
            np.linalg.norm(added_to_gradient(scale * w, *others, scaling=scaling), axis=1)
            for scale in (5, 0.02, 0.01)
        )
        assert np.log2(small / half) == pytest.approx([1, 3], abs=0.05)
        assert half[1] < 0.01 * half[0]
        assert large[1] > 0.1 * large[0]  # far from exact


def reward(w, x, keep_prob):
    """What the decay leaves out: 1/2 sigma''(E[S]) Var(S) p_i x_i makes the unit surer."""
    output = expit(keep_prob * x @ w)
    var_sum = keep_prob * (1 - keep_prob) * x**2 @ w**2
    return output * (1 - output) * (1 - 2 * output) / 2 * var_sum * keep_prob * x


@few_examples
@given(problem=problems())
def test_decay_and_reward_are_the_two_halves_of_a_product_rule(problem):
    """They add up to the gradient of the penalty 1/2 sigma'(E[S]) Var(S), Wager's."""
    w, x, _, keep_prob = problem

    def penalty(w):
        output = torch.sigmoid(torch.tensor(keep_prob * x) @ w)
        var_sum = torch.tensor(keep_prob * (1 - keep_prob) * x**2) @ w**2
        return output * (1 - output) / 2 * var_sum

    whole = jacobian(penalty, torch.tensor(w))
    close(weight_decay_term(w, x, keep_prob) + reward(w, x, keep_prob), whole, 1e-10)


def test_where_the_mean_sum_is_not_zero_the_reward_is_what_the_decay_leaves_out(rng):
    """To leading order, at keep_prob = 1/2; what is left then is of third order."""
    for _ in range(5):
        w, x, keep_prob = rng.normal(size=5), rng.normal(size=5), np.array([0.5] * 5 + [1])
        sizes = []
        for scale in (0.02, 0.01):
            bias = 1.5 - 0.5 * scale * w @ x  # E[S] = 1.5
            unit = np.append(scale * w, bias), np.append(x, 1)
            added, left = added_to_gradient(*unit, 0.3, keep_prob)
            parts = added, left, left - reward(*unit, keep_prob)
            sizes.append(np.linalg.norm(parts, axis=1))
        assert np.log2(np.divide(*sizes)) == pytest.approx([1, 2, 3], abs=0.1)


def test_without_enumeration_there_may_be_any_number():
    ones = np.ones(100)
    close(ensemble_gradient(ones, ones, 0.0, 0.5, unit="linear"), 25 * ones)
    close(weight_decay_term(ones, ones, 0.5, unit="linear"), ones / 4)
