"""Answers to the exercises on Baldi's analysis: right ones in other styles, and wrong ones."""

import math
from fractions import Fraction

import numpy as np
import torch
from scipy import stats
from scipy.special import expit, log_expit, logit

from lib.masks import all_masks, mask_probabilities
from lib.theory import nwgm as theory


def both(mean):
    return lambda o, p: (mean(o, p), mean(1 - o, p))


def loop_nwgm(outputs, probabilities):
    log_odds = 0.0
    for output, probability in zip(outputs, probabilities, strict=True):
        log_odds += probability * (math.log(output) - math.log1p(-output))
    return 1 / (1 + math.exp(-log_odds))


def unit(outputs, probabilities):
    return lambda: (outputs, probabilities)


THIRDS = [2 / 3, 1 / 3]


def loss(w, x, t, keep_prob):
    masks = all_masks(len(w))
    sums = masks * x @ w
    losses = t * np.logaddexp(0, -sums) + (1 - t) * np.logaddexp(0, sums)
    return mask_probabilities(masks, keep_prob) @ losses


def by_differences(step):
    def dropout_gradient(w, x, *others):
        return np.array([
            (loss(w + shift, x, *others) - loss(w - shift, x, *others)) / (2 * step)
            for shift in step * np.eye(len(w))
        ])  # fmt: skip

    return dropout_gradient


def by_autograd(w, x, t, keep_prob):
    masks = torch.tensor(all_masks(len(w)), dtype=torch.float64)
    w = torch.tensor(w, requires_grad=True)
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        masks @ (w * torch.tensor(x)), torch.full((len(masks),), t).double(), reduction="none"
    )
    (torch.tensor(mask_probabilities(masks.numpy(), keep_prob)) @ losses).backward()
    return w.grad


def samples(n, seed=None):
    def dropout_gradient(w, x, t, keep_prob):
        masks = np.random.default_rng(seed).random((n, len(w))) < keep_prob
        return ((expit(masks * x @ w) - t)[:, None] * masks * x).mean(axis=0)

    return dropout_gradient


def from_a_mask(keep_prob, scaling):
    values = np.array([0, 1 if scaling == "weight" else 1 / keep_prob])
    chance = np.array([1 - keep_prob, keep_prob])
    return chance @ (values - chance @ values) ** 2


RIGHT = {
    "geometric_means": [
        both(lambda v, p: math.prod(a**b for a, b in zip(v.tolist(), p.tolist(), strict=True))),
        both(lambda v, p: stats.gmean(v, weights=p)),
        both(lambda v, p: np.prod(np.float32(v) ** np.float32(p))),
        lambda o, p: np.prod(np.stack([o, 1 - o]) ** p, axis=1),
    ],
    "nwgm": [
        lambda o, p: 1 / (1 + np.prod((1 - o) ** p) / np.prod(o**p)),
        lambda o, p: np.array([np.exp(log_expit(np.einsum("k,k", p, np.log(o / (1 - o)))))]),
        loop_nwgm,
        lambda o, p: torch.sigmoid(torch.tensor(p) @ torch.logit(torch.tensor(o))),
    ],
    "counterexample": [
        unit((Fraction(3, 10), Fraction(9, 10)), (Fraction(2, 3), Fraction(1, 3))),
        unit(torch.tensor([0.3, 0.9]), np.float32(THIRDS)),
        unit([1e-300, 0.9], [0.01, 0.99]),
        lambda: np.array([[0.3, 0.9], THIRDS]),
    ],
    "dropout_gradient": [by_autograd, by_differences(1e-5), theory.dropout_gradient],
    "weight_decay_factor": [
        from_a_mask,
        lambda k, s: np.float32(1 - k) * (k if s == "weight" else 1 / k),
        lambda k, s: np.array([1 / k - 1 if s == "inverted" else k - k**2]),
    ],
}

UNLISTED = {
    "geometric_means": [
        (lambda o, p: np.prod(o**p), "how-many"),
        (both(lambda v, p: v**p), "no-number"),
        (lambda o, p: (np.prod(o**p), 0.4), "ignores-.*"),
    ],
    "nwgm": [
        (lambda o, p: expit(p[o > 0.1] @ logit(o[o > 0.1])), "otherwise"),
        (lambda o, p: expit(p @ logit(o)) if len(o) < 99 else 0.5, "otherwise"),
        (lambda o, p: loop_nwgm(np.float32(o), p), "single-precision|raises"),
    ],
    "counterexample": [
        (unit([0.3, 0.9], [0.5, 0.5]), "holds"),
        (unit([0.1, 0.5, 0.9], [0.3, 0.4, 0.3]), "evenly"),
        (unit([0.495, 0.5025], THIRDS[::-1]), "by-too-little"),
        (unit([0.4999, 0.50005], THIRDS[::-1]), "by-too-little"),
        (unit([0.3, 0.9], [1.0, 0.0]), "no-difference"),
        (unit([0.3, 0.9], [0.66, 0.33]), "no-distribution"),
        (unit(THIRDS, [0.3, 0.9]), "swapped"),
        (unit([0.3, 0.9], [1.5, -0.5]), "negative-probability"),
        (unit([0.3, 0.9], [math.nan, 0.5]), "negative-probability"),
        (unit([0.3, 1.0], [0.5, 0.5]), "outside-0-1"),
        (unit([0.3, math.nan], [0.5, 0.5]), "outside-0-1"),
        (unit([0.3, 0.9], [0.2, 0.3, 0.5]), "lengths"),
        (unit("ab", "cd"), "lengths"),
        (unit([], []), "lengths"),
        (lambda: 0.3, "lengths"),
    ],
    "dropout_gradient": [
        (samples(1000), "not-repeatable"),
        (samples(4000, 0), "otherwise|nearly"),
        (by_differences(0.3), "otherwise|nearly"),
    ],
    "weight_decay_factor": [
        (lambda k, s: 4 * k * (1 - k) / (1 if s == "weight" else k**2), "otherwise"),
        (lambda k, s: from_a_mask(k, s) if k < 1 else 1, "otherwise"),
    ],
}
