"""Answers on ensembles: right ones in other styles, wrong ones that are in no table."""

import itertools
import math
import statistics

import numpy as np
import torch
from scipy import stats
from scipy.special import expit

from lib.masks import all_masks, mask_probabilities
from lib.theory import ensemble as theory


def in_torch(predictions, truth):
    p, t = torch.tensor(predictions), torch.tensor(truth)
    return (p.mean(0) - t) ** 2, p.var(0, unbiased=False)


def matrix_average(v, c, k):
    return sum(v if i == j else c for i, j in itertools.product(range(k), repeat=2)) / k**2


def hidden(x, W, b):
    return np.maximum(x @ W.T - b, 0)


def pruned(x, W, b, v):
    """Smaller networks, with the units that are left."""
    rows = [expit(hidden(x, W[m], b[m]) @ v[m]) for m in all_masks(len(b)).astype(bool)]
    return np.float32(rows)


def torch_outputs(x, W, b, v):
    x, W, b, v = map(torch.tensor, (x, W, b, v))
    masks = torch.tensor(all_masks(len(b)))
    return torch.sigmoid((masks[:, None] * torch.relu(x @ W.T - b)) @ v)


def unit_by_unit(outputs, keep_prob):
    """Average over one unit after the other, the first one first."""
    while len(outputs) > 1:
        dropped, kept = np.split(outputs, 2)
        outputs = (1 - keep_prob) * dropped + keep_prob * kept
    return outputs[0]


def weighted(combine):
    """An ensemble_prediction from the probabilities of masks and the outputs."""
    return lambda outputs, k: combine(
        mask_probabilities(all_masks(len(outputs).bit_length() - 1), k), outputs
    )


def sampled(p, outputs):
    return outputs[np.random.default_rng(0).choice(len(outputs), size=200, p=p)].mean(axis=0)


def drawn(x, W, b, v):
    masks = np.random.default_rng().integers(0, 2, size=(2 ** len(b), len(b)))
    return expit((masks[:, None] * hidden(x, W, b)) @ v)


# fmt: off
RIGHT = {
    "bias_variance": [
        in_torch, lambda p, t: ((np.array([*map(statistics.fmean, p.T)]) - t) ** 2,
                                np.array([*map(statistics.pvariance, p.T)])),
        lambda p, t: np.stack([(p.mean(0) - t) ** 2, (p**2).mean(0) - p.mean(0) ** 2]),
        lambda p, t: [np.float32((p.mean(0) - t) ** 2), stats.moment(p, 2, axis=0)],
    ],
    "average_variance": [
        matrix_average, lambda v, c, k: np.float32(c + (v - c) / k),
        lambda v, c, k: (v + 2 * c * math.comb(k, 2) / k) / k,
    ],
    "all_outputs": [
        pruned, torch_outputs, lambda x, W, b, v: np.array([[0.5 + 0.5 * math.tanh(h @ (m * v) / 2)
                                                             for h in hidden(x, W, b)]
                                                            for m in all_masks(len(b))]),
    ],
    "ensemble_prediction": [
        unit_by_unit, weighted(lambda p, o: np.average(o, axis=0, weights=p)),
        weighted(lambda p, o: theory.ensemble_mean(o, p).astype(np.float32)),
    ],
}

UNLISTED = {
    "bias_variance": [
        (lambda p, t: np.square(p - t).mean(0), "how-many"),
        (lambda p, t: (((p.mean(0) - t) ** 2).mean(), p.var(0)), "single-number"),
        (lambda p, t: ((p.mean(1) - t[0]) ** 2, p.var(1)), "shape"),
    ],
    "average_variance": [
        (lambda v, c, k: (v + c) / 2, "ignores-k"),
        (lambda v, c, k: matrix_average(v, c, k) ** 0.5, "root"),
        (lambda v, c, k: v / k + c / (k - 1), "raises|otherwise|ignores-.*"),
    ],
    "all_outputs": [
        (drawn, "not-repeatable"), (lambda *given: pruned(*given).T, "shape"),
        (lambda x, W, b, v: pruned(x, W, 0 * b, v), "ignores-b"),
    ],
    "ensemble_prediction": [
        (weighted(sampled), "nearly"), (lambda o, k: np.median(o, 0), "ignores-keep_prob"),
        (weighted(lambda p, o: (p @ o).mean()), "single-number"),
    ],
}
# fmt: on
