"""Answers on ensembles: right ones in other styles, wrong ones that are in no table."""

import itertools
import math

import numpy as np
import torch
from scipy import stats
from scipy.special import comb, expit

from lib.masks import all_masks, mask_probabilities
from lib.theory import ensemble as theory


def loop_bias_variance(predictions, truth):
    biases, variances = [], []
    for j in range(predictions.shape[1]):
        column = [row[j] for row in predictions]
        mean = sum(column) / len(column)
        biases.append((mean - truth[j]) ** 2)
        variances.append(sum((value - mean) ** 2 for value in column) / len(column))
    return np.array(biases), np.array(variances)


def from_error(predictions, truth):
    bias_squared = (predictions.mean(axis=0) - truth) ** 2
    return [bias_squared, np.square(predictions - truth).mean(axis=0) - bias_squared]


def in_torch(predictions, truth):
    p, t = torch.tensor(predictions), torch.tensor(truth)
    return (p.mean(0) - t) ** 2, p.var(0, unbiased=False)


def matrix_average(v, c, k):
    return sum(v if i == j else c for i, j in itertools.product(range(k), repeat=2)) / k**2


def covariances(v, c, k):
    matrix = np.full((k, k), c)
    np.fill_diagonal(matrix, v)
    ones = np.ones(k) / k
    return ones @ matrix @ ones


def recursive_average(v, c, k):
    if k == 1:
        return v
    before = recursive_average(v, c, k - 1) * (k - 1) ** 2
    return (before + v + 2 * (k - 1) * c) / k**2


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


def hidden(x, W, b):
    return np.maximum(x @ W.T - b, 0)


def pruned(x, W, b, v):
    """Smaller networks, with the units that are left."""
    rows = [expit(hidden(x, W[m], b[m]) @ v[m]) for m in all_masks(len(b)).astype(bool)]
    return np.float32(rows)


def masked_before_relu(x, W, b, v):
    masks = all_masks(len(b))[:, None]
    return expit(np.maximum(masks * (x @ W.T - b), 0) @ v)


def by_digits(x, W, b, v):
    n = len(b)
    masks = np.array([[int(digit) for digit in format(k, f"0{n}b")] for k in range(2**n)])
    return 0.5 + 0.5 * np.tanh(np.einsum("kj,j,ij->ki", masks, v, hidden(x, W, b)) / 2)


def torch_outputs(x, W, b, v):
    x, W, b, v = map(torch.tensor, (x, W, b, v))
    masks = torch.tensor(all_masks(len(b)))
    return torch.sigmoid((masks[:, None] * torch.relu(x @ W.T - b)) @ v)


def network(order=all_masks, output=lambda m, h, v: expit((m[:, None] * h) @ v)):
    """An all_outputs from the masks and the rest."""
    return lambda x, W, b, v: output(order(len(b)), hidden(x, W, b), v)


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


def sampled(outputs, keep_prob):
    chance = mask_probabilities(all_masks(n_units(outputs)), keep_prob)
    rows = np.random.default_rng(0).choice(len(outputs), size=200, p=chance)
    return outputs[rows].mean(axis=0)


def drawn(x, W, b, v):
    masks = np.random.default_rng().integers(0, 2, size=(2 ** len(b), len(b)))
    return expit((masks[:, None] * hidden(x, W, b)) @ v)


def in_place(predictions, truth):
    predictions -= truth
    return predictions.mean(axis=0) ** 2, predictions.var(axis=0)


RIGHT = {
    "bias_variance": [
        loop_bias_variance,
        from_error,
        in_torch,
        lambda p, t: np.stack([(p.mean(0) - t) ** 2, (p**2).mean(0) - p.mean(0) ** 2]),
        lambda p, t: ((p - t).mean(0) ** 2, np.float32(np.cov(p.T, bias=True).reshape(
            p.shape[1], -1).diagonal() if len(p) > 1 else 0 * t)),
        lambda p, t: (np.square(np.average(p, axis=0) - t), np.mean(abs(p - p.mean(0)) ** 2, 0)),
        lambda p, t: ((p.mean(0) - t) ** 2, stats.moment(p, 2, axis=0)),
    ],
    "average_variance": [
        matrix_average, covariances, recursive_average, theory.average_variance,
        lambda v, c, k: c + (v - c) / k,
        lambda v, c, k: np.float32(v / k + (k - 1) / k * c),
        lambda v, c, k: (v + 2 * c * comb(k, 2) / k) / k,
        lambda v, c, k: (k * v + k * (k - 1) * c) / k**2,
    ],
    "all_outputs": [
        loop_outputs, pruned, masked_before_relu, by_digits, torch_outputs,
        lambda x, W, b, v: expit(all_masks(len(b)) * v @ hidden(x, W, b).T),
    ],
    "ensemble_prediction": [
        loop_prediction, unit_by_unit, weighted(),
        weighted(combine=lambda p, o: np.average(o, axis=0, weights=p)),
        weighted(combine=lambda p, o: (p[:, None] * o).sum(axis=0).astype(np.float32)),
        weighted(combine=lambda p, o: theory.ensemble_mean(o, p)),
        weighted(combine=lambda p, o: np.einsum("k,ki->i", p, o)),
        weighted(lambda m, k: k ** m.sum(1) * (1 - k) ** (1 - m).sum(1)),
    ],
}  # fmt: skip

UNLISTED = {
    "bias_variance": [
        (lambda p, t: np.square(p - t).mean(0), "how-many"),
        (lambda p, t: (*from_error(p, t), 0), "how-many"),
        (lambda p, t: tuple(part.tolist() for part in from_error(p, t)), "no-array"),
        (lambda p, t: (from_error(p, t)[0], p.var(0)[:-1]), "shape"),
        (lambda p, t: (((p.mean(0) - t) ** 2).mean(), p.var(0)), "single-number"),
        (lambda p, t: (from_error(p, t)[0], p.var()), "single-number"),
        (lambda p, t: (3 * from_error(p, t)[0], p.var(0)), "otherwise"),
        (lambda p, t: (from_error(p, t)[0], 2 * p.var(0)), "twice"),
        (in_place, "changes-argument"),
    ],
    "average_variance": [
        (lambda v, c, k: matrix_average(v, c, k) if k > 1 else 0.4, "otherwise"),
        (lambda v, c, k: v / k + c / 2 / k, "otherwise"),
        (lambda v, c, k: (v + c) / 2, "ignores-k"),
        (lambda v, c, k: v / k + c / (k - 1), "raises|otherwise|ignores-.*"),
        (lambda v, c, k: np.full(k, v / k), "no-number"),
        (lambda v, c, k: 1.7 * matrix_average(v, c, k) + 1.7, "otherwise"),
    ],
    "all_outputs": [
        (drawn, "not-repeatable"),
        (network(order=lambda n: all_masks(n)[1:]), "shape"),
        (network(output=lambda m, h, v: expit((m[:, None] * h) @ v).mean(axis=0)), "shape"),
        (network(output=lambda m, h, v: expit(m[:, None] * h @ v).tolist()), "no-array"),
        (network(output=lambda m, h, v: expit(m * h @ v)), "raises|shape"),
        (lambda x, W, b, v: np.array([expit(hidden(x, m[:, None] * W, b) @ v)
                                      for m in all_masks(len(b))]), "bias-speaks"),
    ],
    "ensemble_prediction": [
        (weighted(combine=lambda p, o: (p @ o).mean()), "single-number"),
        (lambda o, k: o @ np.ones(o.shape[1]), "shape"),
        (weighted(combine=lambda p, o: (p @ o).tolist()), "no-array"),
        (sampled, "nearly"),
        (weighted(lambda m, k: mask_probabilities(m, 0.5)), "equally"),
        (lambda o, k: 1.7 * loop_prediction(o, k) + 1.7, "otherwise"),
    ],
}  # fmt: skip
