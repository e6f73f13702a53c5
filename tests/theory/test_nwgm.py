"""What holds for the normalized geometric mean, and for the gradient under dropout."""

import itertools
import re
import warnings

import numpy as np
import pytest
from chance import few_examples, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.optimize import minimize_scalar
from scipy.special import expit, logit

from lib.masks import all_masks, mask_probabilities
from lib.theory.ensemble import ensemble_mean, subnetwork_outputs
from lib.theory.nwgm import (
    dropout_gradient,
    ensemble_gradient,
    nwgm,
    rigorous_bound,
    taylor_estimate,
    weight_decay_term,
)


@pytest.fixture
def rng():
    return np.random.default_rng(0)


def close(one, other, tolerance=1e-12):
    np.testing.assert_allclose(one, other, rtol=tolerance, atol=tolerance)


@st.composite
def units(draw, largest_weight=30.0, most_inputs=10):
    """The sums of a unit under each mask of its inputs, and their probabilities."""
    n = draw(st.integers(1, most_inputs))
    weights = draw(arrays(float, n, elements=st.floats(-largest_weight, largest_weight)))
    bias = draw(st.floats(-largest_weight, largest_weight))
    keep_prob = draw(st.one_of(keep_probs, arrays(float, n, elements=keep_probs)))
    sums = subnetwork_outputs(lambda masks: masks @ weights + bias, n)
    return sums, mask_probabilities(all_masks(n), keep_prob)


@st.composite
def distributions(draw, low=0.0, high=1.0):
    """Outputs and their probabilities."""
    outputs = draw(st.lists(st.floats(low, high), min_size=1, max_size=8))
    shares = draw(arrays(float, len(outputs), elements=st.floats(0.01, 1)))
    return np.array(outputs), shares / shares.sum()


inside = distributions(1e-9, 1 - 1e-9)


def product_form(outputs, probabilities):
    """G / (G + G'), as it is defined."""
    powers = np.reshape(probabilities, (-1, *[1] * (np.ndim(outputs) - 1)))
    G = np.prod(outputs**powers, axis=0)
    lack = np.prod((1 - outputs) ** powers, axis=0)
    return G / (G + lack)


# The normalized geometric mean is the output at the mean sum


@few_examples
@given(unit=units(largest_weight=2.0))
def test_it_is_the_output_at_the_mean_sum(unit):
    sums, probabilities = unit
    sums = np.minimum(sums, 5)  # above, an output lacks too little to 1 to hold its digits
    close(nwgm(expit(sums), probabilities), expit(probabilities @ sums))


@few_examples
@given(unit=units())
def test_so_it_is_with_large_weights_where_the_outputs_hold_their_digits(unit):
    sums, probabilities = unit
    negative = -np.abs(sums)  # down to 1e-143
    close(nwgm(expit(negative), probabilities), expit(probabilities @ negative))
    close(logit(nwgm(expit(negative), probabilities)), probabilities @ negative)


@few_examples
@given(distribution=inside)
def test_it_is_the_geometric_mean_over_itself_and_that_of_the_complements(distribution):
    close(nwgm(*distribution), product_form(*distribution), 1e-10)


def test_the_smallest_outputs_keep_their_digits():
    outputs, probabilities = np.array([1e-300, 1e-200, 0.5]), np.array([0.25, 0.25, 0.5])
    np.testing.assert_allclose(nwgm(outputs, probabilities), 1e-125, rtol=1e-12)
    np.testing.assert_allclose(nwgm(np.full(4, 1e-300), np.full(4, 0.25)), 1e-300, rtol=1e-12)


@few_examples
@given(distribution=inside)
def test_it_lies_among_the_outputs(distribution):
    outputs, _ = distribution
    assert outputs.min() - 1e-15 <= nwgm(*distribution) <= outputs.max() + 1e-15


@few_examples
@given(distribution=distributions(1e-3, 1 - 1e-3))
def test_the_complements_have_the_complement(distribution):
    outputs, probabilities = distribution
    close(nwgm(1 - outputs, probabilities), 1 - nwgm(outputs, probabilities))
    close(taylor_estimate(1 - outputs, probabilities), taylor_estimate(outputs, probabilities))


@pytest.mark.parametrize(
    ("outputs", "expected"),
    [([0.0, 0.5], 0), ([1.0, 0.5], 1), ([0.0, 0.0], 0), ([1.0, 1.0], 1), ([0.0, 1.0], np.nan)],
)
def test_one_output_of_zero_or_one_decides_and_both_leave_nothing_to_say(outputs, expected):
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        np.testing.assert_equal(nwgm(outputs, [0.001, 0.999]), expected)
        np.testing.assert_equal(
            nwgm(np.transpose([outputs, [0.25, 0.25]]), [0.5, 0.5])[0], expected
        )
        assert nwgm(np.transpose([outputs, [0.25, 0.25]]), [0.5, 0.5])[1] == pytest.approx(0.25)


@pytest.mark.parametrize("never", [0.0, 1.0, 0.99])
def test_an_output_of_probability_zero_does_not_count(never):
    close(nwgm([0.2, never, 0.6], [0.5, 0, 0.5]), nwgm([0.2, 0.6], [0.5, 0.5]))
    assert nwgm([0.0, never, 0.6], [0.5, 0, 0.5]) == 0
    assert nwgm([1.0, never, 0.6], [0.5, 0, 0.5]) == 1


@pytest.mark.parametrize("mean", [nwgm, taylor_estimate])
def test_each_of_several_units_is_taken_by_itself(mean, rng):
    outputs, probabilities = rng.uniform(size=(5, 2, 3)), rng.dirichlet(np.ones(5))
    together = mean(outputs, probabilities)
    assert together.shape == (2, 3)
    for i, j in itertools.product(range(2), range(3)):
        close(together[i, j], mean(outputs[:, i, j], probabilities))
    assert isinstance(mean(outputs[:, 0, 0], probabilities), float)


@few_examples
@given(low=distributions(0, 0.5))
def test_below_one_half_it_is_at_most_the_mean_and_above_at_least(low):
    outputs, probabilities = low
    mean = ensemble_mean(outputs, probabilities)
    assert nwgm(outputs, probabilities) <= mean + 1e-15
    assert nwgm(1 - outputs, probabilities) >= 1 - mean - 1e-15


# How far it is from the mean: an estimate


def difference(outputs, probabilities):
    return nwgm(outputs, probabilities) - ensemble_mean(outputs, probabilities)


def moments(values, probabilities):
    """Mean, variance and third central moment."""
    mean = probabilities @ values
    return mean, probabilities @ (values - mean) ** 2, probabilities @ (values - mean) ** 3


@few_examples
@given(distribution=distributions())
def test_the_estimate_is_that_of_mean_and_variance(distribution):
    E, V, _ = moments(*distribution)
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


DEVIATIONS = [
    ([-1, 0.5, 2], [0.3, 0.5, 0.2]),
    ([-2, 1, 1.5], [0.5, 0.3, 0.2]),
    ([0, 1], [0.5, 0.5]),
]


def second_order(outputs, probabilities):
    """G, G' from the second-order expansion around 1/2, normalized: where the estimate is from."""
    u = outputs - 0.5
    G = (1 + probabilities @ (2 * u - 2 * u**2) + (probabilities @ (2 * u)) ** 2 / 2) / 2
    lack = (1 + probabilities @ (-2 * u - 2 * u**2) + (probabilities @ (2 * u)) ** 2 / 2) / 2
    return G / (G + lack)


@few_examples
@given(distribution=distributions())
def test_it_is_what_follows_from_geometric_means_to_second_order(distribution):
    shift = second_order(*distribution) - ensemble_mean(*distribution)
    close(taylor_estimate(*distribution), abs(shift))


@pytest.mark.parametrize(("d", "probabilities"), DEVIATIONS)
def test_near_one_half_both_are_of_third_order_but_they_are_not_the_same(d, probabilities):
    d, probabilities = np.array(d), np.array(probabilities)
    mean, variance, third = moments(d, probabilities)
    exact, estimate = 4 * mean * variance + 4 / 3 * third, 2 * abs(mean) * variance
    for eps, tolerance in [(0.02, 0.02), (0.005, 0.002)]:
        outputs = 0.5 + eps * d
        close(difference(outputs, probabilities) / eps**3 / exact, 1, tolerance)
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


@few_examples
@given(unit=units())
def test_the_bound_holds(unit):
    sums, probabilities = unit
    _, variance, _ = moments(sums, probabilities)
    mean = ensemble_mean(expit(sums), probabilities)
    assert abs(mean - expit(probabilities @ sums)) <= rigorous_bound(variance) + 1e-15


@pytest.mark.parametrize("scale", [1e-3, 0.1, 0.5, 1, 2, 4, 20, 1e3, 1e6])
def test_a_search_for_a_violation_finds_none(scale, rng):
    for n in (1, 2, 4, 8):
        for _ in range(25):
            keep_prob = rng.uniform(0.05, 1, size=n)
            W, b = rng.normal(0, scale, size=(n, 20)), rng.normal(0, scale, size=20)
            probabilities = mask_probabilities(all_masks(n), keep_prob)
            sums = all_masks(n) @ W + b
            center = probabilities @ sums
            bound = rigorous_bound(probabilities @ (sums - center) ** 2)
            assert bound.shape == (20,)
            distance = np.abs(ensemble_mean(expit(sums), probabilities) - expit(center))
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
    assert difference(expit(sums), probabilities) == pytest.approx(-rigorous_bound(1e-4), rel=1e-3)


# The gradient under dropout

UNITS, SCALINGS = ["sigmoid", "linear"], ["weight", "inverted"]
both_units = pytest.mark.parametrize("unit", UNITS)
both_scalings = pytest.mark.parametrize("scaling", SCALINGS)


@st.composite
def problems(draw, largest=3.0, most_inputs=6):
    """Weights, inputs, a target in [0, 1] and keep probabilities."""
    n = draw(st.integers(1, most_inputs))
    numbers = arrays(float, n, elements=st.floats(-largest, largest))
    keep_prob = draw(st.one_of(keep_probs, arrays(float, n, elements=st.floats(0.1, 1))))
    return draw(numbers), draw(numbers), draw(st.floats(0, 1)), keep_prob


def a_problem(rng, n=5):
    w, x = rng.normal(size=(2, n))
    return w, x, 0.3, rng.uniform(0.2, 0.9, size=n)


def losses(s, target, unit):
    if unit == "linear":
        return (s - target) ** 2 / 2
    return target * np.logaddexp(0, -s) + (1 - target) * np.logaddexp(0, s)


def mean_loss(w, x, target, keep, unit, scaling):
    """The average over all masks, one by one."""
    mean = 0
    for mask in itertools.product((0, 1), repeat=len(w)):
        probability = np.prod([p if m else 1 - p for m, p in zip(mask, keep, strict=True)])
        scaled = np.array(mask) / (keep if scaling == "inverted" else 1)
        mean += probability * losses(np.sum(w * x * scaled), target, unit)
    return mean


def loss_at_mean(w, x, target, keep, unit, scaling):
    mean = keep if scaling == "weight" else 1
    return losses(np.sum(mean * w * x), target, unit)


def derivative(function, w, step=1e-4):
    """Numerical, to fourth order."""

    def shifted(i, by):
        other = w.copy()
        other[i] += by * step
        return function(other)

    return np.array(
        [
            (8 * (shifted(i, 1) - shifted(i, -1)) - shifted(i, 2) + shifted(i, -2)) / (12 * step)
            for i in range(len(w))
        ]
    )


@both_units
@both_scalings
def test_gradients_are_derivatives_of_their_losses(unit, scaling, rng):
    for _ in range(3):
        w, x, target, keep = a_problem(rng)
        options = {"unit": unit, "scaling": scaling}
        for gradient, loss in [(dropout_gradient, mean_loss), (ensemble_gradient, loss_at_mean)]:
            numerical = derivative(lambda v, f=loss: f(v, x, target, keep, unit, scaling), w)  # noqa: B023
            close(gradient(w, x, target, keep, **options), numerical, 1e-9)


@few_examples
@given(problem=problems(), target=st.floats(-5, 5), scaling=st.sampled_from(SCALINGS))
def test_for_a_linear_unit_dropout_adds_exactly_the_weight_decay_term(problem, target, scaling):
    w, x, _, keep_prob = problem
    options = {"unit": "linear", "scaling": scaling}
    whole = dropout_gradient(w, x, target, keep_prob, **options)
    decay = weight_decay_term(w, x, keep_prob, **options)
    close(whole, ensemble_gradient(w, x, target, keep_prob, **options) + decay)


@few_examples
@given(problem=problems())
def test_the_decay_is_the_variance_of_the_mask_times_weight_and_squared_input(problem):
    w, x, _, keep_prob = problem
    p = np.broadcast_to(keep_prob, w.shape)
    close(weight_decay_term(w, x, keep_prob, unit="linear"), p * (1 - p) * w * x**2)
    inverted = weight_decay_term(w, x, keep_prob, unit="linear", scaling="inverted")
    close(inverted, (1 - p) / p * w * x**2)


@few_examples
@given(problem=problems(), scaling=st.sampled_from(SCALINGS))
def test_for_a_sigmoid_unit_it_is_smaller_by_the_slope_at_the_mean_sum(problem, scaling):
    w, x, _, keep_prob = problem
    sigmoid, linear = (weight_decay_term(w, x, keep_prob, unit=u, scaling=scaling) for u in UNITS)
    mean_sum = np.sum((keep_prob if scaling == "weight" else 1) * w * x)
    close(sigmoid, linear / (np.exp(mean_sum) + 2 + np.exp(-mean_sum)))


def unexplained(scale, w, x, target, keep, scaling):
    """What is left of the gradient of a sigmoid unit, at weights times a scale."""
    arguments = {"keep_prob": keep, "scaling": scaling}
    whole = dropout_gradient(scale * w, x, target, **arguments)
    ensemble = ensemble_gradient(scale * w, x, target, **arguments)
    return whole - ensemble, whole - ensemble - weight_decay_term(scale * w, x, **arguments)


@both_scalings
def test_for_a_sigmoid_unit_what_is_missing_is_of_third_order_in_the_weights(scaling, rng):
    for _ in range(5):
        problem = a_problem(rng)
        sizes = []
        for scale in (0.02, 0.01):
            with_decay, without = unexplained(scale, *problem, scaling)
            sizes.append([np.linalg.norm(with_decay), np.linalg.norm(without)])
        orders = np.log2(np.divide(*sizes))
        assert orders[0] == pytest.approx(1, abs=0.02)
        assert orders[1] == pytest.approx(3, abs=0.05)
        assert sizes[1][1] < 0.01 * sizes[1][0]


def test_for_a_sigmoid_unit_with_large_weights_it_is_not_exact(rng):
    for scaling in SCALINGS:
        with_decay, without = unexplained(5, *a_problem(rng), scaling)
        assert np.linalg.norm(without) > 0.1 * np.linalg.norm(with_decay)


@few_examples
@given(problem=problems(), unit=st.sampled_from(UNITS))
def test_scaled_masks_are_the_same_as_weights_over_keep_prob(problem, unit):
    w, x, target, keep_prob = problem
    for gradient in (dropout_gradient, ensemble_gradient):
        inverted = gradient(w, x, target, keep_prob, unit=unit, scaling="inverted")
        other = gradient(w / keep_prob, x, target, keep_prob, unit=unit, scaling="weight")
        close(inverted, other / keep_prob, 1e-10)
    inverted = weight_decay_term(w, x, keep_prob, unit=unit, scaling="inverted")
    other = weight_decay_term(w / keep_prob, x, keep_prob, unit=unit, scaling="weight")
    close(inverted, other / keep_prob, 1e-10)


@both_units
@both_scalings
@pytest.mark.parametrize("keep_prob", [1, np.ones(5)])
def test_where_every_input_is_kept_dropout_adds_nothing(unit, scaling, keep_prob, rng):
    w, x, target, _ = a_problem(rng)
    options = {"unit": unit, "scaling": scaling}
    assert not weight_decay_term(w, x, keep_prob, **options).any()
    whole = dropout_gradient(w, x, target, keep_prob, **options)
    close(whole, ensemble_gradient(w, x, target, keep_prob, **options))
    close(whole, ((w @ x if unit == "linear" else expit(w @ x)) - target) * x)


def test_a_sigmoid_unit_and_the_masks_of_the_paper_are_the_default(rng):
    w, x, target, keep = a_problem(rng)
    options = {"unit": "sigmoid", "scaling": "weight"}
    for gradient in (dropout_gradient, ensemble_gradient):
        close(gradient(w, x, target, keep), gradient(w, x, target, keep, **options), 0)
    close(weight_decay_term(w, x, keep), weight_decay_term(w, x, keep, **options), 0)


# Bad arguments, said in one voice


def ways_to_use(w=(1.0, 2.0), x=(1.0, 2.0), target=0.5, keep_prob=0.5, **options):
    yield lambda: dropout_gradient(w, x, target, keep_prob, **options)
    yield lambda: ensemble_gradient(w, x, target, keep_prob, **options)
    yield lambda: weight_decay_term(w, x, keep_prob, **options)


def assert_all_raise(message, **arguments):
    for use in ways_to_use(**arguments):
        with pytest.raises(ValueError, match=re.escape(message)):
            use()


@pytest.mark.parametrize("keep_prob", [[0.5], [0.5, 0.5, 0.5], [[0.5, 0.5]]])
def test_keep_probs_for_another_number_of_inputs_are_a_value_error(keep_prob):
    message = "keep_prob must be one number or have shape (2,), got shape "
    assert_all_raise(message + str(np.shape(keep_prob)), keep_prob=keep_prob)


@pytest.mark.parametrize(("w", "x"), [((2,), (3,)), ((3,), (1,))])
def test_weights_and_inputs_that_do_not_fit_are_a_value_error_that_says_their_shapes(w, x):
    message = f"w and x must both have shape (n,), got {w} and {x}"
    assert_all_raise(message, w=np.ones(w), x=np.ones(x))


def test_too_many_inputs_to_enumerate_are_a_value_error():
    with pytest.raises(ValueError, match="w must have at most 20 entries, got 21"):
        dropout_gradient(np.ones(21), np.ones(21), 0.5, 0.5)


def test_without_enumeration_there_may_be_any_number():
    ones = np.ones(100)
    close(ensemble_gradient(ones, ones, 0.0, 0.5, unit="linear"), 25 * ones)
    close(weight_decay_term(ones, ones, 0.5, unit="linear"), ones / 4)


@pytest.mark.parametrize("target", [-0.1, 1.1])
def test_a_target_that_is_no_probability_is_a_value_error_for_a_sigmoid_unit(target):
    message = f"target must lie in [0, 1] for a sigmoid unit, got {target!r}"
    for use in list(ways_to_use(target=target))[:2]:
        with pytest.raises(ValueError, match=re.escape(message)):
            use()


@pytest.mark.parametrize("target", [0, 1])
def test_the_ends_are_targets_and_a_linear_unit_takes_any(target):
    w, x = np.array([0.5, -0.2]), np.array([1.0, 2.0])
    close(ensemble_gradient(w, x, target, 1), (expit(0.1) - target) * x)
    close(dropout_gradient(w, x, target, 1), (expit(0.1) - target) * x)
    close(dropout_gradient(w, x, -7.0, 1, unit="linear"), 7.1 * x)
