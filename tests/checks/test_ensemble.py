"""The checks of the exercises on ensembles: each known misconception is told what it is.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import itertools
import math

import numpy as np
import pytest
from answers import assert_told, cases
from scipy.special import comb, logit

from lib.checks import ensemble
from lib.masks import all_masks, mask_probabilities
from lib.theory import ensemble as theory


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def square_of_bias(predictions, truth):
    return (predictions.mean(axis=0) - truth) ** 2


def variance(predictions, truth):
    return predictions.var(axis=0)


def error(predictions, truth):
    return np.square(predictions - truth).mean(axis=0)


def both(first=square_of_bias, second=variance):
    """A bias_variance from its two halves."""
    return lambda predictions, truth: (first(predictions, truth), second(predictions, truth))


def loop_bias_variance(predictions, truth):
    biases, variances = [], []
    for j in range(predictions.shape[1]):
        column = [row[j] for row in predictions]
        mean = sum(column) / len(column)
        biases.append((mean - truth[j]) ** 2)
        variances.append(sum((value - mean) ** 2 for value in column) / len(column))
    return np.array(biases), np.array(variances)


def from_error(predictions, truth):
    bias_squared = square_of_bias(predictions, truth)
    return [bias_squared, error(predictions, truth) - bias_squared]


def over_points(predictions, truth):
    mean = predictions.mean(axis=1)
    return (mean - truth) ** 2, predictions.var(axis=1)


def of_lib(predictions, truth):
    parts = theory.bias_variance(predictions, truth)
    return parts.bias_squared, parts.variance


def spread_alone_over_points(predictions, truth):
    return square_of_bias(predictions, truth), predictions.var(axis=1)


def in_place(predictions, truth):
    predictions -= truth
    return predictions.mean(axis=0) ** 2, predictions.var(axis=0)


BIAS_VARIANCE = [
    (both(), None),
    (loop_bias_variance, None),
    (from_error, None),
    (lambda p, t: np.stack([square_of_bias(p, t), variance(p, t)]), None),
    (both(variance, square_of_bias), "The two are swapped"),
    (both(error), "error of the MEAN prediction"),
    (both(lambda p, t: np.abs(p - t).mean(axis=0)), "error of the MEAN prediction"),
    (both(lambda p, t: p.mean(axis=0) - t), "is not squared"),
    (both(lambda p, t: np.abs(p.mean(axis=0) - t)), "size of the bias"),
    (both(lambda p, t: p.mean(axis=0) ** 2 - t**2), "difference of squares"),
    (both(lambda p, t: (p**2).mean(axis=0) - t**2), "difference of squares"),
    (both(lambda p, t: (p - t).sum(axis=0) ** 2), "not the sum"),
    (both(lambda p, t: len(p) * square_of_bias(p, t)), "summed over the sets"),
    (both(lambda p, t: p.mean(axis=0) ** 2), "The truth is missing"),
    (both(lambda p, t: (np.median(p, axis=0) - t) ** 2), "median prediction"),
    (both(lambda p, t: square_of_bias(p, t).mean()), "a single number"),
    (both(lambda p, t: 0 * t + square_of_bias(p, t).mean()), "don't average over the points"),
    (both(lambda p, t: 0 * t + (p.mean() - t.mean()) ** 2), "don't average over the points"),
    (both(lambda p, t: 3 * square_of_bias(p, t)), "so the squared bias is"),
    (over_points, "taken over the points"),
    (both(lambda p, t: (p - t).mean(axis=1) ** 2), "taken over the points"),
    (spread_alone_over_points, "taken over the points"),
    (both(second=lambda p, t: p.var(axis=1, ddof=1)), "taken over the points"),
    (of_lib, "estimate of lib"),
    (both(second=lambda p, t: p.var(axis=0, ddof=1)), "number of sets less one"),
    (both(second=error), "about the true value"),
    (both(second=lambda p, t: p.std(axis=0)), "standard deviation"),
    (both(second=lambda p, t: p.std(axis=0, ddof=1)), "standard deviation"),
    (both(second=lambda p, t: len(p) * p.var(axis=0)), "summed over the sets"),
    (both(second=lambda p, t: p.var(axis=0) / len(p)), "twice"),
    (both(second=lambda p, t: (p**2).mean(axis=0)), "mean square"),
    (both(second=lambda p, t: np.abs(p - p.mean(axis=0)).mean(axis=0)), "mean distances"),
    (both(second=lambda p, t: ((p - p.mean()) ** 2).mean(axis=0)), "one mean of all points"),
    (both(second=lambda p, t: p.var()), "a single number"),
    (both(second=lambda p, t: 0 * t + p.var()), "over the sets alone"),
    (both(second=lambda p, t: 0 * t + p.var(axis=0).mean()), "don't average over the points"),
    (both(second=lambda p, t: 2 * p.var(axis=0)), "scatter about their mean"),
    (lambda p, t: error(p, t), "return bias_squared, variance"),
    (lambda p, t: (*both()(p, t), 0), "return bias_squared, variance"),
    (lambda p, t: tuple(part.tolist() for part in both()(p, t)), "must be a NumPy array"),
    (both(second=lambda p, t: p.var(axis=0)[:-1]), "must have shape"),
    (in_place, "changed its argument predictions in place"),
]


def matrix_average(v, c, k):
    total = 0.0
    for i, j in itertools.product(range(k), range(k)):
        total += v if i == j else c
    return total / k**2


AVERAGE_VARIANCE = [
    (matrix_average, None),
    (theory.average_variance, None),
    (lambda v, c, k: c + (v - c) / k, None),
    (lambda v, c, k: np.full((k, k), c).sum() / k**2 + (v - c) / k, None),
    (lambda v, c, k: np.float32(v / k + (k - 1) / k * c), None),
    (lambda v, c, k: (v + 2 * c * comb(k, 2) / k) / k, None),
    (lambda v, c, k: v / k, "covariance does not appear"),
    (lambda v, c, k: v / k + c, "with themselves|of a predictor with itself"),
    (lambda v, c, k: (v + k * c) / k, "of a predictor with itself"),
    (lambda v, c, k: (v + c) / k, "factor k - 1 is missing"),
    (lambda v, c, k: v / k + c / k**2, "One pair alone"),
    (lambda v, c, k: v / k + (k - 1) / (2 * k) * c, "counted once"),
    (lambda v, c, k: (v + c * comb(k, 2) / k) / k, "counted once"),
    (lambda v, c, k: v / k + 2 * (k - 1) / k * c, "no factor 2"),
    (lambda v, c, k: v / k + (k - 1) * c, "not divided as they should"),
    (lambda v, c, k: v / k + k * (k - 1) * c, "not divided at all"),
    (lambda v, c, k: v / k + (k - 1) * c / k**2, "once too often"),
    (lambda v, c, k: k * v + k * (k - 1) * c, "variance of the sum"),
    (lambda v, c, k: v + (k - 1) * c, "k times too large"),
    (lambda v, c, k: (v + (k - 1) * c) / k**2, "k times too small"),
    (lambda v, c, k: v / k**2 + (k - 1) / k * c, "there are k variances"),
    (lambda v, c, k: c / k + (k - 1) / k * v, "v and c are swapped"),
    (lambda v, c, k: v / k + (k - 1) / k * c * v, "taken for a correlation"),
    (lambda v, c, k: c * v + (1 - c) / k * v, "taken for a correlation"),
    (lambda v, c, k: v / k - (k - 1) / k * c, "are subtracted"),
    (lambda v, c, k: c, "the limit for many"),
    (lambda v, c, k: v, "a single predictor"),
    (lambda v, c, k: v + (k - 1) / k * c, "not divided by k"),
    (lambda v, c, k: (v + c) / 2, "k has no part"),
    (lambda v, c, k: math.sqrt(matrix_average(v, c, k)), "standard deviation"),
    (lambda v, c, k: matrix_average(v, c, k) if k > 1 else 0.4, "the predictor itself"),
    (lambda v, c, k: v / k + (k + 1) / k * c, "covariance matrix"),
    (lambda v, c, k: matrix_average(v, max(c, 0), k), "covariance matrix|does not appear"),
    (lambda v, c, k: v / k + (k - 1) / k * c if k > 1 else v / (k - 1), "raised ZeroDivisionError"),
    (lambda v, c, k: np.full(k, v / k), "must be one number"),
]


def hidden(x, W, b):
    return np.maximum(x @ W.T - b, 0)


def network(layer=hidden, order=all_masks, output=lambda m, h, v: sigmoid((m[:, None] * h) @ v)):
    """An all_outputs from the hidden layer, the masks and the rest."""
    return lambda x, W, b, v: output(order(len(b)), layer(x, W, b), v)


def loop_outputs(x, W, b, v):
    rows = []
    for mask in itertools.product((0, 1), repeat=len(b)):
        row = []
        for example in x:
            z = 0.0
            for kept, weights, bias, out in zip(mask, W, b, v, strict=True):
                if kept:
                    z += out * max(0.0, sum(weights * example) - bias)
            row.append(1 / (1 + math.exp(-z)))
        rows.append(row)
    return np.array(rows)


def by_matrix(x, W, b, v):
    return sigmoid(all_masks(len(b)) * v @ hidden(x, W, b).T)


def pruned(x, W, b, v):
    """Smaller networks, with the units that are left."""
    rows = []
    for mask in all_masks(len(b)).astype(bool):
        rows.append(sigmoid(hidden(x, W[mask], b[mask]) @ v[mask]))
    return np.float32(rows)


def on_inputs(x, W, b, v):
    return np.array([sigmoid(hidden(m * x, W, b) @ v) for m in all_masks(x.shape[1])])


def drawn(x, W, b, v):
    masks = np.random.default_rng().integers(0, 2, size=(2 ** len(b), len(b)))
    return sigmoid((masks[:, None] * hidden(x, W, b)) @ v)


def inside(x, W, b, v):
    masks = all_masks(len(b))[:, None]
    return sigmoid(np.maximum(masks * (x @ W.T) - b, 0) @ v)


def on_rows_of_weights(x, W, b, v):
    return np.array([sigmoid(hidden(x, m[:, None] * W, b) @ v) for m in all_masks(len(b))])


def before_the_relu(x, W, b, v):
    masks = all_masks(len(b))[:, None]
    return sigmoid(np.maximum(masks * (x @ W.T - b), 0) @ v)


def plus(x, W, b):
    return np.maximum(x @ W.T + b, 0)


ALL_OUTPUTS = [
    (network(), None),
    (loop_outputs, None),
    (by_matrix, None),
    (pruned, None),
    (before_the_relu, None),
    (network(order=lambda n: 1 - all_masks(n)), "opposite order"),
    (network(order=lambda n: np.array(list(itertools.product((1, 0), repeat=n)))), "opposite"),
    (network(order=lambda n: all_masks(n)[:, ::-1]), "LEADING"),
    (
        network(order=lambda n: np.array(sorted(all_masks(n).tolist(), key=sum))),
        "Some outputs differ",
    ),
    (network(order=lambda n: all_masks(n) / 0.5), "2 times what it should be: are the masks sc"),
    (network(order=lambda n: all_masks(n) / 0.8), "1.25 times"),
    (network(order=lambda n: 0.5 * all_masks(n)), "0.5 times"),
    (network(order=lambda n: np.ones((2**n, n))), "All rows are the same"),
    (network(order=lambda n: np.ones((2**n, n)) / 2), "All rows are the same"),
    (network(order=lambda n: all_masks(n)[1:]), "must have shape"),
    (drawn, "drawn at random"),
    (on_inputs, "masks are on the inputs"),
    (inside, "A dropped unit still says"),
    (on_rows_of_weights, "A dropped unit still says"),
    (network(lambda x, W, b: x @ W.T - b), "ReLU is missing"),
    (network(lambda x, W, b: sigmoid(x @ W.T - b)), "have a sigmoid"),
    (network(plus), "bias is added"),
    (network(lambda x, W, b: x @ W.T + b), "bias is added"),
    (network(lambda x, W, b: hidden(x, W.T, b)), "wrong way round"),
    (network(output=lambda m, h, v: (m[:, None] * h) @ v), "sigmoid of the output unit"),
    (network(plus, output=lambda m, h, v: (m[:, None] * h) @ v), "bias is added"),
    (network(output=lambda m, h, v: (m[:, None] * sigmoid(h * v)).sum(axis=-1)), "one sigmoid"),
    (network(output=lambda m, h, v: sigmoid((m[:, None] * h).sum(axis=-1))), "v are missing"),
    (network(output=lambda m, h, v: m[:, :1] * sigmoid(h @ v)), "multiplies the output"),
    (network(output=lambda m, h, v: sigmoid((m[:, None] * h) @ v).T), "must have shape"),
    (network(output=lambda m, h, v: sigmoid((m[:, None] * h) @ v).mean(axis=0)), "must have sh"),
    (network(output=lambda m, h, v: sigmoid((m[:, None] * h) @ v)[:, :1]), "must have shape"),
    (network(output=lambda m, h, v: sigmoid(-(m[:, None] * h) @ v)), "Some outputs differ"),
    (network(output=lambda m, h, v: sigmoid(m[:, None] * h @ v).tolist()), "NumPy array"),
    (network(output=lambda m, h, v: sigmoid(m * h @ v)), "raised ValueError"),
    (
        network(output=lambda m, h, v: m.mean(axis=1)[:, None] * sigmoid(h @ v)),
        r"With the mask \[.*0.*\] it is 0\.\d+ for example \d; yours",
    ),
]


def n_units(outputs):
    return len(outputs).bit_length() - 1


def weighted(weigh=mask_probabilities, combine=lambda weights, outputs: weights @ outputs):
    """An ensemble_prediction from the weights of masks."""
    return lambda outputs, k: combine(weigh(all_masks(n_units(outputs)), k), outputs)


def loop_prediction(outputs, keep_prob):
    n = int(math.log2(len(outputs)))
    mean = [0.0] * outputs.shape[1]
    for mask, row in zip(itertools.product((0, 1), repeat=n), outputs, strict=True):
        chance = math.prod(keep_prob if kept else 1 - keep_prob for kept in mask)
        mean = [total + chance * value for total, value in zip(mean, row, strict=True)]
    return np.array(mean)


def unit_by_unit(outputs, keep_prob):
    """Average over one unit after the other, the first one first."""
    while len(outputs) > 1:
        dropped, kept = np.split(outputs, 2)
        outputs = (1 - keep_prob) * dropped + keep_prob * kept
    return outputs[0]


def normalized(weights, outputs):
    return weights @ outputs / weights.sum()


def keeping(masks, k):
    return k ** masks.sum(axis=1)


def dropping(masks, k):
    return (1 - k) ** (1 - masks).sum(axis=1)


def binomial(masks, k):
    return comb(masks.shape[1], masks.sum(axis=1)) * mask_probabilities(masks, k)


def added(masks, k):
    return np.where(masks == 1, k, 1 - k).sum(axis=1)


def without(row):
    def weigh(masks, k):
        chance = mask_probabilities(masks, k)
        chance[row] = 0
        return chance

    return weigh


def sampled(outputs, keep_prob):
    chance = mask_probabilities(all_masks(n_units(outputs)), keep_prob)
    rows = np.random.default_rng(0).choice(len(outputs), size=200, p=chance)
    return outputs[rows].mean(axis=0)


ENSEMBLE_PREDICTION = [
    (weighted(), None),
    (loop_prediction, None),
    (unit_by_unit, None),
    (weighted(combine=lambda p, o: np.average(o, axis=0, weights=p)), None),
    (weighted(combine=lambda p, o: (p[:, None] * o).sum(axis=0).astype(np.float32)), None),
    (weighted(combine=lambda p, o: theory.ensemble_mean(o, p)), None),
    (lambda o, k: o.mean(axis=0), "All sub-networks count the same"),
    (weighted(lambda m, k: mask_probabilities(1 - m, k)), "probability to drop"),
    (weighted(lambda m, k: dropping(1 - m, k) * keeping(1 - m, k)), "probability to drop"),
    (weighted(keeping), "do not add up to 1"),
    (weighted(keeping, normalized), "do not add up to 1"),
    (weighted(dropping), "dropped alone"),
    (weighted(dropping, normalized), "dropped alone"),
    (weighted(binomial), "binomial coefficient"),
    (weighted(binomial, normalized), "binomial coefficient"),
    (weighted(lambda m, k: m.sum(axis=1), normalized), "numbers of units kept"),
    (weighted(added), "are added"),
    (weighted(added, normalized), "are added"),
    (weighted(combine=lambda p, o: (p[:, None] * o).mean(axis=0)), "already add up to 1"),
    (lambda o, k: o.sum(axis=0), "This is a sum"),
    (lambda o, k: o[-1], "the whole network. Average"),
    (lambda o, k: k * o[-1], "the idea of weight scaling"),
    (lambda o, k: sigmoid(k * logit(o[-1])), "the idea of weight scaling"),
    (weighted(combine=lambda p, o: sigmoid(p @ logit(o))), "before the sigmoid"),
    (weighted(combine=lambda p, o: np.prod(o ** p[:, None], axis=0)), "geometric mean: add"),
    (weighted(combine=lambda p, o: o[p.argmax()]), "whole network|most likely"),
    (lambda o, k: k * o.mean(axis=0), "keep_prob is a factor"),
    (lambda o, k: np.median(o, axis=0), "median"),
    (weighted(without(0)), "that drops every unit is missing"),
    (weighted(without(0), normalized), "that drops every unit is missing"),
    (weighted(without(-1)), "that keeps every unit is missing"),
    (weighted(combine=lambda p, o: (p @ o).mean()), "a single number"),
    (lambda o, k: o @ np.ones(o.shape[1]), "must have shape"),
    (weighted(combine=lambda p, o: p[:, None] * o), "must have shape"),
    (weighted(combine=lambda p, o: (p @ o).tolist()), "must be a NumPy array"),
    (sampled, "Sum probability times output"),
    (weighted(lambda m, k: mask_probabilities(m, 0.5)), "All sub-networks count the same"),
]

ANSWERS = {
    "bias_variance": BIAS_VARIANCE,
    "average_variance": AVERAGE_VARIANCE,
    "all_outputs": ALL_OUTPUTS,
    "ensemble_prediction": ENSEMBLE_PREDICTION,
}


@pytest.mark.parametrize(("check", "answer", "message"), cases(ensemble, ANSWERS))
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    assert_told(check, answer, message, capsys)


def test_one_unnamed_mistake_is_not_taken_for_another():
    """Numbers that no formula of the lists gives get the general message."""
    data = np.random.default_rng(0)
    for wrong in data.uniform(0.3, 3, size=50):
        with pytest.raises(AssertionError, match="covariance matrix"):
            ensemble.average_variance(lambda v, c, k, a=wrong: a * matrix_average(v, c, k) + a)
        with pytest.raises(AssertionError, match="Sum probability times output"):
            ensemble.ensemble_prediction(lambda o, k, a=wrong: a * loop_prediction(o, k) + a)
        with pytest.raises(AssertionError, match="scatter about their mean"):
            ensemble.bias_variance(both(second=lambda p, t, a=wrong: a * p.var(axis=0) + a))
