"""Each known misconception is told what it is, by the check of its exercise.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import math

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from answers import assert_told, cases, shifted
from scipy import stats
from torch import nn

from lib.checks import idea, normalization
from lib.masks import all_masks, mask_probabilities


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def right_mask(n_examples, n_units, keep_prob, rng):
    return (rng.random((n_examples, n_units)) < keep_prob).astype(int)


def loop_mask(n_examples, n_units, keep_prob, rng):
    mask = np.zeros((n_examples, n_units))
    for i in range(n_examples):
        for j in range(n_units):
            if rng.random() < keep_prob:
                mask[i, j] = 1
    return mask


def fixed_number(n_examples, n_units, keep_prob, rng):
    row = np.arange(n_units) < round(keep_prob * n_units)
    return np.array([rng.permutation(row) for _ in range(n_examples)])


def layer(train, test):
    """A dropout_layer from what to do with activations, given keep_prob and a right mask."""

    def dropout_layer(x, weights, bias, keep_prob, phase, rng):
        h = sigmoid(x @ weights.T - bias)
        mask = right_mask(*h.shape, keep_prob, rng)
        return (train if phase == "train" else test)(h, mask, keep_prob)

    return dropout_layer


def from_z(train, test):
    """The same from pre-activations."""

    def dropout_layer(x, weights, bias, keep_prob, phase, rng):
        z = x @ weights.T - bias
        mask = right_mask(*z.shape, keep_prob, rng)
        return (train if phase == "train" else test)(z, mask, keep_prob)

    return dropout_layer


def plus_bias(x, weights, bias, keep_prob, phase, rng):
    return RIGHT_LAYER(x, weights, -bias, keep_prob, phase, rng)


def masked(h, mask, keep_prob):
    return mask * h


def scaled(h, mask, keep_prob):
    return keep_prob * h


def as_is(h, mask, keep_prob):
    return h


def inverted(h, mask, keep_prob):
    return mask * h / keep_prob


RIGHT_LAYER = layer(masked, scaled)


def gradients(form):
    """layer_gradients from grad_z, given grad_y, the mask and h."""

    def layer_gradients(grad_y, x, weights, bias, mask):
        h = sigmoid(x @ weights.T - bias)
        grad_z = form(grad_y, mask, h)
        return grad_z @ weights, grad_z.T @ x, -grad_z.sum(axis=0)

    return layer_gradients


def half_masked(grad_y, x, weights, bias, mask):
    h = sigmoid(x @ weights.T - bias)
    grad_z = grad_y * h * (1 - h)
    return (grad_z * mask) @ weights, grad_z.T @ x, -(grad_z * mask).sum(axis=0)


def right_gradients(grad_y, x, weights, bias, mask):
    return gradients(lambda g, m, h: g * m * h * (1 - h))(grad_y, x, weights, bias, mask)


def last(change):
    """layer_gradients with grad_bias changed, given the batch too."""

    def layer_gradients(grad_y, x, weights, bias, mask):
        grad_x, grad_weights, grad_bias = right_gradients(grad_y, x, weights, bias, mask)
        h = sigmoid(x @ weights.T - bias)
        return grad_x, grad_weights, change(grad_bias, grad_y, mask, h)

    return layer_gradients


def mean_gradients(grad_y, x, weights, bias, mask):
    grad_x, grad_weights, grad_bias = right_gradients(grad_y, x, weights, bias, mask)
    return grad_x, grad_weights / len(x), grad_bias


def redrawn(g, m, h):
    return g * (np.random.default_rng().random(m.shape) < 0.5) * h * (1 - h)


def redrawn_same(g, m, h):
    return g * (np.random.default_rng(0).random(m.shape) < 0.5) * h * (1 - h)


def ceil_of(ratio):
    return lambda keep_prob, confidence: math.ceil(ratio(keep_prob, confidence))


def logs(keep_prob, confidence):
    if keep_prob == 1:
        return 1
    return math.log(1 - confidence) / math.log(1 - keep_prob)


def logs_of_keep(keep_prob, confidence):
    return 1 if keep_prob == 1 else math.log(1 - confidence) / math.log(keep_prob)


def right_steps(keep_prob, confidence):
    n = 1
    while 1 - (1 - keep_prob) ** n < confidence:
        n += 1
    return n


def interval(spread, t=None):
    """paired_comparison from the half width of its interval, in units of t."""

    def paired_comparison(ours, baseline):
        d = ours - baseline
        half = (t or stats.t.ppf(0.975, len(d) - 1)) * spread(ours, baseline)
        n_agree = (np.sign(d) == np.sign(d.mean())).sum()
        return d.mean(), d.mean() - half, d.mean() + half, n_agree

    return paired_comparison


def standard_error(ours, baseline):
    return (ours - baseline).std(ddof=1) / np.sqrt(len(ours))


def unpaired(ours, baseline):
    return np.sqrt((ours.var(ddof=1) + baseline.var(ddof=1)) / len(ours))


def welch(ours, baseline):
    low, high = stats.ttest_ind(ours, baseline, equal_var=False).confidence_interval()
    right = interval(standard_error)(ours, baseline)
    return right[0], low, high, right[3]


def counted(count):
    def paired_comparison(ours, baseline):
        return *interval(standard_error)(ours, baseline)[:3], count(ours - baseline)

    return paired_comparison


IDEA = {
    "batch_mask": [
        (right_mask, None),
        (loop_mask, None),
        (lambda n, m, keep_prob, rng: rng.random((n, m)) < keep_prob, None),
        (lambda n, m, keep_prob, rng: rng.binomial(1, keep_prob, (n, m)), None),
        (lambda n, m, keep_prob, rng: right_mask(1, m, keep_prob, rng)[0], "one mask for the wh"),
        (
            lambda n, m, keep_prob, rng: np.tile(right_mask(1, m, keep_prob, rng), (n, 1)),
            "One mask for the whole batch",
        ),
        (
            lambda n, m, keep_prob, rng: np.tile(right_mask(n, 1, keep_prob, rng), (1, m)),
            "all units are kept or dropped together",
        ),
        (lambda n, m, keep_prob, rng: 1 - right_mask(n, m, keep_prob, rng), "probability to drop"),
        (lambda n, m, keep_prob, rng: rng.random((n, m)) > keep_prob, "probability to drop"),
        (lambda n, m, keep_prob, rng: right_mask(n, m, keep_prob, rng) / keep_prob, "only 0 and 1"),
        (lambda n, m, keep_prob, rng: right_mask(n, m, keep_prob, rng) * keep_prob, "only 0 and 1"),
        (lambda n, m, keep_prob, rng: right_mask(n, m, 0.5, rng), "You kept .*asks for 80%"),
        (fixed_number, "exactly the same number"),
        (
            lambda n, m, keep_prob, rng: right_mask(n, m, keep_prob, np.random.default_rng(0)),
            "Two calls drew the same mask",
        ),
        (
            lambda n, m, keep_prob, rng: right_mask(n, m, keep_prob, np.random.default_rng()),
            "same seed gave different masks",
        ),
        (lambda n, m, keep_prob, rng: np.ones((n, m)), "No unit was dropped"),
        (lambda n, m, keep_prob, rng: np.zeros((n, m)), "Every unit of every example was dropped"),
    ],
    "dropout_layer": [
        (RIGHT_LAYER, None),
        (layer(masked, lambda h, m, k: h * np.float64(k)), None),
        (layer(masked, masked), "mask is still on at prediction"),
        (layer(inverted, inverted), "mask is still on at prediction"),
        (layer(scaled, masked), "phases are swapped"),
        (layer(as_is, scaled), "No unit was dropped"),
        (layer(inverted, as_is), "inverted dropout"),
        (layer(inverted, scaled), "scale is there twice"),
        (layer(lambda h, m, k: m * h * k, as_is), "wrong phase"),
        (layer(lambda h, m, k: m * h * k, scaled), "in both phases"),
        (layer(masked, as_is), "Multiply the activations by keep_prob"),
        (layer(masked, lambda h, m, k: h / k), "must shrink"),
        (layer(masked, lambda h, m, k: (1 - k) * h), "probability to drop"),
        (layer(lambda h, m, k: (1 - m) * h, scaled), "probability to drop"),
        (layer(lambda h, m, k: m[0] * h, scaled), "One mask for the whole batch"),
        (layer(lambda h, m, k: m * m[:, ::-1] * h, scaled), "keep_prob squared"),
        (from_z(lambda z, m, k: sigmoid(m * z), lambda z, m, k: k * sigmoid(z)), "say 0.5"),
        (
            from_z(lambda z, m, k: m * sigmoid(z), lambda z, m, k: sigmoid(k * z)),
            "inside the nonlinearity",
        ),
        (from_z(masked, scaled), "nonlinearity is missing"),
        (plus_bias, "wrong sign"),
        (
            lambda x, w, b, k, phase, rng: RIGHT_LAYER(x, w, b, k, phase, np.random.default_rng(0)),
            "Two calls drew the same mask",
        ),
        (lambda x, w, b, k, phase, rng: sigmoid(w @ x - b), "raised ValueError"),
    ],
    "layer_gradients": [
        (gradients(lambda g, m, h: g * m * h * (1 - h)), None),
        (gradients(lambda g, m, h: g * (m * h) * (1 - m * h)), None),
        (gradients(lambda g, m, h: g * h * (1 - h)), "grad_x is not masked"),
        (gradients(lambda g, m, h: g), "grad_x is not masked"),
        (half_masked, "grad_weights is not masked"),
        (gradients(redrawn), "new mask drawn in the backward pass"),
        (gradients(redrawn_same), "new mask drawn in the backward pass"),
        (gradients(lambda g, m, h: g * m), "lacks the derivative"),
        (gradients(lambda g, m, h: g * m * h), "lacks the derivative"),
        (gradients(lambda g, m, h: -g * m * h * (1 - h)), "wrong sign"),
        (gradients(lambda g, m, h: g * (1 - m) * h * (1 - h)), "differs from finite differences"),
        (mean_gradients, "grad_weights is a mean"),
        (lambda g, x, w, b, m: gradients(lambda g, m, h: g)(g, x, w, b, m)[::-1], "shape of its x"),
        (lambda g, x, w, b, m: g @ w, "Return three arrays"),
        (lambda g, x, w, b, m: right_gradients(g, x, w, b, m)[:2], "Return three arrays"),
        (last(lambda d, g, m, h: -d), "grad_bias has the wrong sign. The layer subtracts"),
        (last(lambda d, g, m, h: d / len(g)), "grad_bias is a mean"),
        (last(lambda d, g, m, h: -(g * m * h * (1 - h))), "shape of its bias"),
        (last(lambda d, g, m, h: -(g * h * (1 - h)).sum(axis=0)), "grad_bias is not masked"),
        (last(lambda d, g, m, h: (g * h * (1 - h)).sum(axis=0)), "grad_bias is not masked"),
        (last(lambda d, g, m, h: -(g * m).sum(axis=0)), "grad_bias lacks the derivative"),
    ],
    "steps_needed": [
        (right_steps, None),
        (ceil_of(logs), None),
        (lambda k, c: np.ceil(logs(k, c)), None),
        (lambda k, c: 5, "you answer 5"),
        (lambda k, c: math.ceil(math.log2(1 / (1 - c))), "as for keep_prob=0.5"),
        (ceil_of(logs_of_keep), "probability to drop"),
        (lambda k, c: math.floor(logs(k, c)), "rounded down"),
        (lambda k, c: round(logs(k, c)), "rounded down, or to the nearest"),
        (lambda k, c: math.ceil(logs(k, c)) + 1, "already reach"),
        (logs, "whole numbers"),
        (lambda k, c: math.ceil(math.log(1 - c) / math.log(1 - k)), "raised ValueError"),
        (lambda k, c: 0 if k == 1 else math.ceil(logs(k, c)), "very first step"),
    ],
    "paired_comparison": [
        (interval(standard_error), None),
        (lambda a, b: list(interval(standard_error)(a, b)), None),
        (interval(unpaired), "unpaired"),
        (interval(unpaired, 1.96), "unpaired"),
        (welch, "unpaired"),
        (interval(lambda a, b: (a - b).std(ddof=1)), "square root of n"),
        (interval(lambda a, b: (a - b).std(ddof=1), t=1.0), "square root of n"),
        (interval(standard_error, 1.96), "Student's t"),
        (interval(lambda a, b: (a - b).std() / np.sqrt(len(a))), "ddof=1"),
        (lambda a, b: interval(standard_error)(b, a), "sign is turned round"),
        (interval(lambda a, b: -standard_error(a, b)), "around the mean"),
        (counted(lambda d: (d < 0).sum()), "depends on the sign of the mean"),
        (counted(lambda d: (np.sign(d) == np.sign(d.mean())).mean()), "is a count"),
        (counted(lambda d: (d * d.mean() > 0).sum()), None),
        (counted(lambda d: (d * d.mean() >= 0).sum()), "a difference of 0 has none"),
        (lambda a, b: (a - b).mean(), "Return four numbers"),
    ],
}


def inverted_mask(shape, keep_prob, rng):
    return (rng.random(shape) < keep_prob) / keep_prob


def scaled_mask(scale):
    return lambda shape, keep_prob, rng: (rng.random(shape) < keep_prob) * scale(keep_prob)


def two_phases(train, test):
    """A dropout2 that refuses other phases."""

    def dropout2(act, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError(phase)
        mask = (rng.random(act.shape) < keep_prob).astype(int)
        return (train if phase == "train" else test)(act, mask, keep_prob)

    return dropout2


def silent(act, keep_prob, phase, rng):
    return act if phase == "test" else act * inverted_mask(act.shape, keep_prob, rng)


def in_place(act, keep_prob, phase, rng):
    if phase == "train":
        act *= inverted_mask(act.shape, keep_prob, rng)
    return act


def fold(weight_factors, bias_factors=lambda k: (1, 1, 1)):
    def fold_into_weights(layers, keep_probs):
        factors = zip(layers, weight_factors(keep_probs), bias_factors(keep_probs), strict=True)
        return [(f * weights, g * bias) for (weights, bias), f, g in factors]

    return fold_into_weights


def fold_in_place(layers, keep_probs):
    for (weights, _), keep_prob in zip(layers[1:], keep_probs, strict=True):
        weights *= keep_prob
    return layers


def over_masks(combine):
    """exact_mean from the probabilities and the outputs of all masks."""

    def exact_mean(hidden, weights, bias, keep_prob):
        masks = all_masks(len(hidden))
        outputs = sigmoid(masks * hidden @ weights - bias)
        return combine(mask_probabilities(masks, keep_prob), outputs)

    return exact_mean


def net(forward):
    """A FunctionalNet with this forward pass from the hidden units on."""

    class FunctionalNet(nn.Module):
        def __init__(self, n_inputs, n_units, n_outputs, keep_prob):
            super().__init__()
            self.keep_prob = keep_prob
            self.hidden = nn.Linear(n_inputs, n_units)
            self.out = nn.Linear(n_units, n_outputs)
            self.drop = nn.Dropout(1 - keep_prob)

        def forward(self, x):
            return forward(self, torch.relu(self.hidden(x)))

    return FunctionalNet


def sampled(combine, keep=lambda k: k, scale=lambda k: 1, rows=lambda n: n):
    """mc_average from the outputs of sampled masks."""

    def mc_average(hidden, weights, bias, keep_prob, n_samples, rng):
        if n_samples < 2:
            raise ValueError(n_samples)
        masks = rng.random((rows(n_samples), len(hidden))) < keep(keep_prob)
        z = masks * scale(keep_prob) * hidden @ weights - bias
        return combine(sigmoid(z), z, n_samples)

    return mc_average


def mean_and_error(outputs, z, n):
    return outputs.mean(), outputs.std(ddof=1) / np.sqrt(n)


def unguarded(refuse):
    def mc_average(hidden, weights, bias, keep_prob, n_samples, rng):
        if n_samples < 2:
            return refuse()
        return sampled(mean_and_error)(hidden, weights, bias, keep_prob, n_samples, rng)

    return mc_average


NORMALIZATION = {
    "inverted_mask": [
        (inverted_mask, None),
        (lambda shape, k, rng: rng.binomial(1, k, shape) / k, None),
        (lambda shape, k, rng: np.where(rng.random(shape) < k, 1 / k, 0.0), None),
        (scaled_mask(lambda k: k), "restore it"),
        (scaled_mask(lambda k: 1), "nothing is scaled"),
        (scaled_mask(lambda k: 1 / (1 - k)), "is 1/\\(1 - keep_prob\\)"),
        (scaled_mask(lambda k: 1 / k**2), "divide by keep_prob twice"),
        (scaled_mask(lambda k: 2), "has the mean 1.6"),
        (
            lambda shape, k, rng: (m := rng.random(shape) < k) / m.mean(),
            "share that happened to be kept",
        ),
        (
            lambda shape, k, rng: (m := rng.random(shape) < k) / m.mean(axis=-1, keepdims=True),
            "share that happened to be kept",
        ),
        (lambda shape, k, rng: (rng.random(shape) > k) / k, "probability to drop"),
        (lambda shape, k, rng: inverted_mask(shape, 1 - k, rng), "probability to drop"),
        (
            lambda shape, k, rng: np.tile(inverted_mask(shape[1:], k, rng), (shape[0], 1)),
            "One mask for the whole batch",
        ),
        (
            lambda shape, k, rng: inverted_mask(shape, k, np.random.default_rng(0)),
            "Two calls drew the same mask",
        ),
        (lambda shape, k, rng: inverted_mask(shape[1], k, rng), "must have shape"),
    ],
    "dropout2": [
        (two_phases(inverted, as_is), None),
        (two_phases(lambda a, m, k: np.where(m, a / k, 0), lambda a, m, k: a.copy()), None),
        (two_phases(inverted, inverted), "mask is still on at prediction"),
        (two_phases(inverted, masked), "mask is still on at prediction"),
        (two_phases(as_is, inverted), "phases are swapped"),
        (two_phases(masked, scaled), "scale is in the wrong phase"),
        (two_phases(masked, lambda a, m, k: a / k), "scale is in the wrong phase"),
        (two_phases(masked, as_is), "nothing is scaled"),
        (two_phases(lambda a, m, k: m * a * k, as_is), "restore it"),
        (two_phases(lambda a, m, k: m * a / k**2, as_is), "divide by keep_prob twice"),
        (two_phases(lambda a, m, k: m * a / (1 - k), as_is), "is 1/\\(1 - keep_prob\\)"),
        (two_phases(inverted, scaled), "scale is there twice"),
        (two_phases(inverted, lambda a, m, k: a / k), "in both phases"),
        (two_phases(lambda a, m, k: (1 - m) * a / k, as_is), "probability to drop"),
        (two_phases(lambda a, m, k: m[0] * a / k, as_is), "One mask for the whole batch"),
        (two_phases(lambda a, m, k: m[:, :1] * a / k, as_is), "kept or dropped together"),
        (two_phases(lambda a, m, k: m * a / m.mean(), as_is), "share that happened to be kept"),
        (
            two_phases(lambda a, m, k: m * a / m.mean(axis=1, keepdims=True), as_is),
            "share that happened to be kept",
        ),
        (two_phases(lambda a, m, k: m * a * 3, as_is), "multiplied by 3 and 1"),
        (silent, "ValueError"),
        (in_place, "changed its argument act in place"),
        (lambda act, k, phase, rng: None, "returned None"),
    ],
    "fold_into_weights": [
        (fold(lambda k: (1, *k)), None),
        (fold(lambda k: (*k, 1)), "INTO the units"),
        (fold(lambda k: (*k, 1), lambda k: (*k, 1)), "INTO the units"),
        (fold(lambda k: (1, *k), lambda k: (1, *k)), "biases are scaled too"),
        (fold(lambda k: (1, *(1 / f for f in k))), "divided by keep_prob"),
        (fold(lambda k: (1, *k[::-1])), "wrong way round"),
        (fold(lambda k: (1, *(1 - f for f in k))), "probability to drop"),
        (fold(lambda k: (1, 1, 1)), "weights are the old ones"),
        (fold(lambda k: (1, k[0], k[0] * k[1])), "once"),
        (fold_in_place, "changed its argument layers in place"),
        (lambda layers, keep_probs: [weights for weights, _ in layers], "pairs"),
    ],
    "exact_mean": [
        (over_masks(lambda chance, y: chance @ y), None),
        (over_masks(lambda chance, y: (chance * y).sum() / chance.sum()), None),
        (over_masks(lambda chance, y: y.mean()), "All masks count the same"),
        (lambda h, w, b, k: sigmoid(k * h @ w - b), "before the nonlinearity"),
        (over_masks(lambda chance, y: chance[::-1] @ y), "those of dropping"),
        (over_masks(lambda chance, y: chance[1:] @ y[1:]), "that drops every unit is missing"),
        (over_masks(lambda chance, y: chance[:-1] @ y[:-1]), "that keeps every unit is missing"),
        (over_masks(lambda chance, y: (chance * y).mean()), "summed, not averaged"),
        (lambda h, w, b, k: over_masks(lambda c, y: c @ y)(h / k, w, b, k), "scaled by 1/keep"),
        (over_masks(lambda chance, y: chance * y), "must be one number"),
        (over_masks(lambda chance, y: math.nan), "is nan"),
    ],
    "functional_net": [
        (net(lambda s, h: s.out(F.dropout(h, 1 - s.keep_prob, s.training))), None),
        (net(lambda s, h: s.out(s.drop(h))), None),
        (net(lambda s, h: s.out(F.dropout(h, 1 - s.keep_prob))), "pass training=self.training"),
        (net(lambda s, h: s.out(nn.Dropout(1 - s.keep_prob)(h))), "still on at prediction"),
        (net(lambda s, h: s.out(F.dropout(h))), "still on at prediction"),
        (net(lambda s, h: s.out(F.dropout(h, s.keep_prob, s.training))), "probability to drop"),
        (net(lambda s, h: s.out(F.dropout(h, training=s.training))), "asks for 80%"),
        (
            net(
                lambda s, h: s.out(
                    F.dropout(h, 1 - s.keep_prob, s.training) * (1 if s.training else s.keep_prob)
                )
            ),
            "scale is there twice",
        ),
        (
            net(
                lambda s, h: s.out(
                    F.dropout(h, 1 - s.keep_prob, True) / s.keep_prob if s.training else h
                )
            ),
            "scale is there twice in training",
        ),
        (
            net(lambda s, h: F.dropout(s.out(h), 1 - s.keep_prob, s.training)),
            "belongs to the hidden units",
        ),
        (net(lambda s, h: s.out(h)), "No unit was dropped"),
        (net(lambda s, h: s.out(F.dropout1d(h, 1 - s.keep_prob, s.training))), "together"),
        (net(lambda s, h: h), "shape \\(400, 3\\)"),
    ],
    "mc_average": [
        (sampled(mean_and_error), None),
        (sampled(lambda y, z, n: (y.mean(), stats.sem(y))), None),
        (sampled(lambda y, z, n: (y.mean(), y.std())), "standard deviation of one sample"),
        (sampled(lambda y, z, n: (y.mean(), y.std() / n)), "square root of the number"),
        (sampled(lambda y, z, n: (y.mean(), y.var() / n)), "square root of the number"),
        (
            sampled(lambda y, z, n: (sigmoid(z.mean()), y.std() / np.sqrt(n))),
            "before the nonlinearity",
        ),
        (sampled(mean_and_error, rows=lambda n: 1), "a mask of its own"),
        (sampled(mean_and_error, keep=lambda k: 1 - k), "probability to drop"),
        (sampled(mean_and_error, scale=lambda k: 1 / k), "scaled by 1/keep_prob"),
        (sampled(mean_and_error, keep=lambda k: 0.5), "should come within"),
        (sampled(lambda y, z, n: y.mean()), "Return two numbers"),
        (sampled(lambda y, z, n: (y.mean(), y.std() / np.sqrt(n))), "ddof=1"),
        (sampled(lambda y, z, n: (y.mean(), y.std() / np.sqrt(n - 1))), None),
        (unguarded(lambda: (0.5, math.nan)), "n_samples < 2"),
        (unguarded(lambda: 1 / 0), "must raise a ValueError, yours raised ZeroDivisionError"),
        (
            lambda h, w, b, k, n, rng: sampled(mean_and_error)(
                h, w, b, k, n, np.random.default_rng(0)
            ),
            "Two calls drew the same mask",
        ),
    ],
}

CASES = cases(idea, IDEA) + cases(normalization, NORMALIZATION)


@pytest.mark.filterwarnings("ignore:Degrees of freedom", "ignore:invalid value")
@pytest.mark.parametrize(("check", "answer", "message"), CASES)
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    assert_told(check, answer, message, capsys)


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm(seed, capsys):
    """A right answer passes however its random numbers fall."""
    extra = np.random.default_rng(seed).integers(1, 1000)
    for check, function in (
        (idea.batch_mask, right_mask),
        (idea.dropout_layer, RIGHT_LAYER),
        (normalization.inverted_mask, inverted_mask),
        (normalization.dropout2, two_phases(inverted, as_is)),
        (normalization.mc_average, sampled(mean_and_error)),
    ):
        check(shifted(function, extra))


def test_steps_are_asked_for_without_ties():
    """Nobody fails because 1 - (1 - 0.2)**2 comes out a little below 0.36."""
    asked = []

    def recorded(keep_prob, confidence):
        asked.append((keep_prob, confidence))
        return right_steps(keep_prob, confidence)

    idea.steps_needed(recorded)
    assert len(asked) == 6
    for keep_prob, confidence in asked:
        reached = 1 - (1 - keep_prob) ** np.arange(1, 100)
        assert abs(reached - confidence).min() > 1e-6
