"""What holds for the penalties of noise: they are what the noise adds to the loss."""

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from formulas import close, every_mask
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays

from lib.layers import Dropout, GaussianDropout
from lib.masks import all_masks
from lib.theory.noise import dropout_ridge, tikhonov_penalty

SCALINGS = ["inverted", "weight"]
both_scalings = pytest.mark.parametrize("scaling", SCALINGS)
several_keep_probs = pytest.mark.parametrize("keep_prob", [0.05, 0.3, 0.5, 0.9, 1])


# Dropout on the inputs of a linear model


def best_over_all_masks(X, y, keep_prob, scaling):
    """Least squares over every masked copy of the examples, weighted by its probability."""
    masks, probabilities = every_mask(X.shape[1], keep_prob)
    masks = masks / keep_prob if scaling == "inverted" else masks
    roots = np.sqrt(probabilities)
    rows = np.concatenate([root * X * mask for root, mask in zip(roots, masks, strict=True)])
    return np.linalg.lstsq(rows, np.concatenate([root * y for root in roots]), rcond=None)[0]


@both_scalings
@several_keep_probs
@pytest.mark.parametrize("outputs", [(), (1,), (3,)])
@pytest.mark.parametrize(("examples", "inputs"), [(30, 1), (30, 4), (15, 10), (4, 9)])
def test_the_weights_are_best_on_the_average_over_all_masks(
    scaling, keep_prob, outputs, examples, inputs, rng
):
    X = rng.normal(size=(examples, inputs)) * rng.uniform(0.2, 5, size=inputs) + 1
    y = rng.normal(size=(examples, *outputs))
    w = dropout_ridge(X, y, keep_prob, scaling)
    assert w.shape == (inputs, *outputs)
    close(w, best_over_all_masks(X, y, keep_prob, scaling), 1e-8)


@few_examples
@given(
    keep_prob=keep_probs,
    scaling=st.sampled_from(SCALINGS),
    exponents=arrays(float, 5, elements=st.floats(-3, 3)),
)
def test_the_units_of_measurement_do_not_change_the_predictions(keep_prob, scaling, exponents):
    rng = np.random.default_rng(0)
    X, y = rng.normal(size=(12, 5)), rng.normal(size=12)
    other_units = X * 10**exponents
    predictions = other_units @ dropout_ridge(other_units, y, keep_prob, scaling)
    close(predictions, X @ dropout_ridge(X, y, keep_prob, scaling), 1e-8)


@both_scalings
@several_keep_probs
def test_an_input_that_is_always_zero_has_weight_zero_and_changes_no_other(scaling, keep_prob, rng):
    X, y = rng.normal(size=(12, 5)), rng.normal(size=(12, 2))
    X[:, 2] = 0
    w = dropout_ridge(X, y, keep_prob, scaling)
    close(w[2], 0)
    without = dropout_ridge(np.delete(X, 2, axis=1), y, keep_prob, scaling)
    close(np.delete(w, 2, axis=0), without, 1e-8)


def test_with_nearly_all_inputs_dropped_each_is_fitted_as_if_it_were_alone(rng):
    X, y = rng.normal(size=(12, 5)) + 1, rng.normal(size=12)
    alone = X.T @ y / np.square(X).sum(axis=0)
    close(dropout_ridge(X, y, 1e-9, scaling="weight"), alone, 1e-6)


@pytest.mark.parametrize("layer", [Dropout, GaussianDropout])
@pytest.mark.parametrize("keep_prob", [0.3, 0.5, 0.9])
def test_the_layers_add_the_same_penalty_to_the_loss_of_a_linear_model(layer, keep_prob):
    x, w, y, n = torch.randn(6, dtype=torch.float64), torch.randn(6).double(), 0.7, 100_000
    losses = (y - layer(keep_prob)(x.expand(n, 6)) @ w) ** 2
    expected = (y - x @ w) ** 2 + (1 - keep_prob) / keep_prob * (x**2 * w**2).sum()
    assert is_near(losses.mean(), expected, losses.std(), n)


# Noise added to the inputs of any model


def exact_increase(model, X, Y, noise_std):
    """What noise of +-s on each input, every sign as likely, adds to the mean squared error."""
    noise = noise_std * (2 * all_masks(X.shape[1]) - 1)

    def loss(inputs):
        return np.square(model(inputs) - Y).sum(axis=-1).mean()

    return np.mean([loss(X + e) for e in noise]) - loss(X)


@few_examples
@given(
    noise_std=st.floats(0.01, 10),
    examples=st.integers(1, 5),
    inputs=st.integers(1, 4),
    outputs=st.integers(1, 3),
)
def test_for_a_linear_model_the_penalty_is_exactly_what_the_noise_adds(
    noise_std, examples, inputs, outputs
):
    rng = np.random.default_rng(0)
    W, X = rng.normal(size=(outputs, inputs)), rng.normal(size=(examples, inputs))
    Y = rng.normal(size=(examples, outputs))  # whatever the targets are
    gradients = np.broadcast_to(W, (examples, outputs, inputs))
    penalty = tikhonov_penalty(gradients, noise_std)
    close(penalty, exact_increase(lambda x: x @ W.T, X, Y, noise_std), 1e-8)
    close(penalty, noise_std**2 * np.sum(W**2))
    if outputs == 1:
        assert tikhonov_penalty(gradients[:, 0], noise_std) == penalty


W = np.array([[0.8, -0.5, 0.3], [0.4, 0.9, -0.6]])  # weights of two tanh units


def tanh_units(x):
    return np.tanh(x @ W.T)


def slopes(x):
    """Derivatives of the units by their inputs, (examples, units, inputs)."""
    return (1 - tanh_units(x) ** 2)[..., None] * W


def curvatures(x):
    """Sum of the second derivatives of the units by each input, (examples, units)."""
    f = tanh_units(x)
    return -2 * f * (1 - f**2) * np.sum(W**2, axis=1)


def missing_from_increase(X, Y, noise_std, of_curvature=0.0):
    """What the penalty, and a term in s^2 besides, leave unexplained of the exact increase."""
    penalty = tikhonov_penalty(slopes(X), noise_std) + noise_std**2 * of_curvature
    return exact_increase(tanh_units, X, Y, noise_std) - penalty


def test_at_the_optimum_what_the_penalty_misses_is_of_fourth_order_in_the_noise(rng):
    X = rng.normal(size=(7, 3))
    whole, half = (missing_from_increase(X, tanh_units(X), s) for s in (0.04, 0.02))
    assert whole / half == pytest.approx(16, rel=0.02)
    assert abs(whole) < 0.01 * tikhonov_penalty(slopes(X), 0.04)


def test_elsewhere_it_misses_the_term_of_the_second_derivative_and_no_other(rng):
    X = rng.normal(size=(7, 3))
    Y = tanh_units(X) + rng.normal(size=(7, 2))
    term = np.sum((tanh_units(X) - Y) * curvatures(X), axis=-1).mean()
    whole, half = (missing_from_increase(X, Y, s) for s in (0.04, 0.02))
    assert whole / half == pytest.approx(4, rel=0.02)
    assert whole == pytest.approx(0.04**2 * term, rel=0.02)
    whole, half = (missing_from_increase(X, Y, s, of_curvature=term) for s in (0.04, 0.02))
    assert whole / half == pytest.approx(16, rel=0.02)


def test_the_penalty_is_an_average_over_examples_and_a_sum_over_outputs(rng):
    gradients = rng.normal(size=(5, 2, 3))
    penalty = tikhonov_penalty(gradients, 0.3)
    close(tikhonov_penalty(np.concatenate([gradients] * 4), 0.3), penalty)
    close(tikhonov_penalty(np.concatenate([gradients] * 4, axis=1), 0.3), 4 * penalty)
    assert type(penalty) is float
