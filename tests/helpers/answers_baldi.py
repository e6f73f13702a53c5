"""Answers to the exercises on Baldi's analysis: right ones in other styles, and wrong ones."""

import itertools
import math
from fractions import Fraction

import numpy as np
import torch
from scipy import stats
from scipy.special import expit, log_expit, logit, logsumexp

from lib.masks import all_masks, mask_probabilities
from lib.theory import nwgm as theory

# Means


def mean_of(values, p):
    """A weighted geometric mean."""
    return np.prod(values**p)


def both(mean):
    return lambda o, p: (mean(o, p), mean(1 - o, p))


def loop_means(outputs, probabilities):
    g = g_prime = 1.0
    for output, probability in zip(outputs.tolist(), probabilities.tolist(), strict=True):
        g *= output**probability
        g_prime *= (1 - output) ** probability
    return g, g_prime


def by_recursion(v, p):
    return 1.0 if len(v) == 0 else v[0] ** p[0] * by_recursion(v[1:], p[1:])


def loop_nwgm(outputs, probabilities):
    log_odds = 0.0
    for output, probability in zip(outputs, probabilities, strict=True):
        log_odds += probability * (math.log(output) - math.log1p(-output))
    return 1 / (1 + math.exp(-log_odds))


def softmax_nwgm(outputs, probabilities):
    logs = np.array([probabilities @ np.log(v) for v in (outputs, 1 - outputs)])
    return np.exp(logs[0] - logsumexp(logs))


def torch_nwgm(outputs, probabilities):
    return torch.sigmoid(torch.tensor(probabilities) @ torch.logit(torch.tensor(outputs)))


def product_first(outputs, probabilities):
    """Multiplied first: the right thing, for a few outputs of ordinary size."""
    m = len(outputs)
    g, g_prime = (np.prod(v ** (m * probabilities)) ** (1 / m) for v in (outputs, 1 - outputs))
    return g / (g + g_prime)


# A counterexample


def searched():
    rng = np.random.default_rng(0)
    while True:
        outputs, probabilities = rng.uniform(size=5), rng.dirichlet(np.ones(5))
        mean = probabilities @ outputs
        estimate = 2 * mean * (1 - mean) * abs(1 - 2 * mean)
        if abs(mean - theory.nwgm(outputs, probabilities)) > 1.1 * estimate:
            return outputs, probabilities


def from_masks():
    masks = all_masks(8)
    return expit(0.5 * masks.sum(axis=1) - 1), mask_probabilities(masks, 0.5)


def unit(outputs, probabilities):
    return lambda: (outputs, probabilities)


THIRDS = [2 / 3, 1 / 3]

# The gradient


def right_gradient(w, x, t, keep_prob, masks=None):
    masks = all_masks(len(w)) if masks is None else masks
    chance = mask_probabilities(masks, keep_prob)
    return (chance * (expit(masks @ (w * x)) - t)) @ masks * x


def loss(w, x, t, keep_prob):
    masks = all_masks(len(w))
    sums = masks * x @ w
    losses = t * np.logaddexp(0, -sums) + (1 - t) * np.logaddexp(0, sums)
    return mask_probabilities(masks, keep_prob) @ losses


def by_differences(step):
    def dropout_gradient(w, x, t, keep_prob):
        rise = [
            loss(w + shift, x, t, keep_prob) - loss(w - shift, x, t, keep_prob)
            for shift in step * np.eye(len(w))
        ]
        return np.array(rise) / (2 * step)

    return dropout_gradient


def loop_gradient(w, x, t, keep_prob):
    total = [0.0] * len(w)
    for mask in itertools.product((0, 1), repeat=len(w)):
        chance = math.prod(keep_prob if kept else 1 - keep_prob for kept in mask)
        s = sum(m * a * b for m, a, b in zip(mask, w, x, strict=True))
        delta = 1 / (1 + math.exp(-s)) - t
        for i, kept in enumerate(mask):
            if kept:
                total[i] += chance * delta * x[i]
    return np.array(total)


def by_autograd(w, x, t, keep_prob):
    masks = torch.tensor(all_masks(len(w)), dtype=torch.float64)
    w = torch.tensor(w, requires_grad=True)
    sums = masks @ (w * torch.tensor(x))
    losses = torch.nn.functional.binary_cross_entropy_with_logits(
        sums, torch.full_like(sums, t), reduction="none"
    )
    chance = torch.tensor(mask_probabilities(masks.numpy(), keep_prob))
    (chance @ losses).backward()
    return w.grad


def by_condition(w, x, t, keep_prob):
    """Given that input i is kept, the others are drawn."""
    gradient = np.empty(len(w))
    for i in range(len(w)):
        masks = np.insert(all_masks(len(w) - 1) if len(w) > 1 else np.empty((1, 0)), i, 1, axis=1)
        chance = mask_probabilities(masks, keep_prob) / keep_prob
        gradient[i] = keep_prob * x[i] * (chance @ expit(masks @ (w * x)) - t)
    return gradient


def samples(n, seed=None):
    def dropout_gradient(w, x, t, keep_prob):
        masks = np.random.default_rng(seed).random((n, len(w))) < keep_prob
        return ((expit(masks * x @ w) - t)[:, None] * masks * x).mean(axis=0)

    return dropout_gradient


def in_place(w, x, t, keep_prob):
    w *= x
    return right_gradient(w, x, t, keep_prob)


# The factor


def factors(weight=lambda p: p * (1 - p), inverted=lambda p: (1 - p) / p):
    return lambda keep_prob, scaling: {"weight": weight, "inverted": inverted}[scaling](keep_prob)


def from_a_mask(keep_prob, scaling):
    values = np.array([0, 1 if scaling == "weight" else 1 / keep_prob])
    chance = np.array([1 - keep_prob, keep_prob])
    return chance @ (values - chance @ values) ** 2


def branches(keep_prob, scaling):
    if scaling == "inverted":
        return 1 / keep_prob - 1
    return keep_prob - keep_prob**2


RIGHT = {
    "geometric_means": [
        both(mean_of),
        loop_means,
        both(lambda v, p: 10 ** (p @ np.log10(v))),
        both(lambda v, p: stats.gmean(v, weights=p)),
        both(lambda v, p: np.prod(np.float32(v) ** np.float32(p))),
        both(by_recursion),
        lambda o, p: np.prod(np.stack([o, 1 - o]) ** p, axis=1),
        lambda o, p: [math.exp(sum(p * np.log(each))) for each in (o, 1 - o)],
    ],
    "nwgm": [
        lambda o, p: mean_of(o, p) / (mean_of(o, p) + mean_of(1 - o, p)),
        lambda o, p: 1 / (1 + mean_of(1 - o, p) / mean_of(o, p)),
        lambda o, p: expit(p @ logit(o)),
        lambda o, p: np.array([expit(p @ (np.log(o) - np.log1p(-o)))]),
        lambda o, p: np.exp(log_expit(np.einsum("k,k", p, np.log(o / (1 - o))))),
        lambda o, p: 0.5 + 0.5 * np.tanh(0.5 * (p @ logit(o))),
        loop_nwgm,
        softmax_nwgm,
        torch_nwgm,
        theory.nwgm,
    ],
    "counterexample": [
        unit(np.array([0.3, 0.9]), np.array(THIRDS)),
        unit((Fraction(3, 10), Fraction(9, 10)), (Fraction(2, 3), Fraction(1, 3))),
        unit(np.float32([0.3, 0.9]), np.float32(THIRDS)),
        unit(torch.tensor([0.3, 0.9]), torch.tensor(THIRDS)),
        unit([1e-300, 0.9], [0.01, 0.99]),
        searched,
        lambda: np.array([[0.3, 0.9], THIRDS]),
        unit([0.3, 0.9, 0.5], [*THIRDS, 0.0]),
    ],
    "dropout_gradient": [
        right_gradient,
        lambda w, x, t, k: right_gradient(w, x, t, k, all_masks(len(w))[1:]),
        loop_gradient,
        by_autograd,
        by_condition,
        by_differences(1e-5),
        theory.dropout_gradient,
        lambda *args: np.float32(right_gradient(*args)),
    ],
    "weight_decay_factor": [
        from_a_mask,
        branches,
        lambda k, s: np.array([k * (1 - k) / (k**2 if s == "inverted" else 1)]),
        lambda k, s: np.float32(1 - k) * (k if s == "weight" else 1 / k),
        lambda k, s: float(stats.bernoulli(k).var() / (1 if s == "weight" else k) ** 2),
    ],
}  # fmt: skip

UNLISTED = {
    "geometric_means": [
        (mean_of, "how-many"),
        (both(lambda v, p: v**p), "no-number"),
        (both(lambda v, p: 0.4), "ignores-.*"),
        (lambda o, p: (mean_of(o, p), p @ (1 - o)), "arithmetic-mean"),
        (lambda o, p: (mean_of(o, p), 0.4), "ignores-.*"),
        (lambda o, p: (mean_of(o, p), mean_of(o, p)), "g-again"),
    ],
    "nwgm": [
        (product_first, "underflow"),
        (lambda o, p: expit(logit(o).mean()), "equal-weights"),
        (lambda o, p: expit(p @ np.log(o)), "one-for-prime"),
        (lambda o, p: o**p / (o**p + (1 - o) ** p), "no-number"),
        (lambda o, p: expit(p[o > 0.1] @ logit(o[o > 0.1])), "otherwise"),
        (lambda o, p: expit(p @ logit(o)) if len(o) < 99 else 0.5, "otherwise"),
        (lambda o, p: loop_nwgm(np.float32(o), p), "single-precision|raises"),
        (lambda o, p: 1 / (p @ (1 / o)), "another-mean"),
        (lambda o, p: np.tanh(p @ logit(o)), "otherwise"),
    ],
    "counterexample": [
        (unit([0.3, 0.9], [0.5, 0.5]), "holds"),
        (unit([0.2, 0.6], [0.5, 0.5]), "holds"),
        (from_masks, "holds"),
        (unit([0.1, 0.9], [0.5, 0.5]), "evenly"),
        (unit([0.1, 0.5, 0.9], [0.3, 0.4, 0.3]), "evenly"),
        (unit([0.495, 0.5025], [1 / 3, 2 / 3]), "by-too-little"),
        (unit([0.5, 0.5], [0.5, 0.5]), "no-difference"),
        (unit([0.7], [1.0]), "no-difference"),
        (unit([0.3, 0.9], [1.0, 0.0]), "no-difference"),
        (unit([0.3, 0.9], [2 / 3, 2 / 3]), "no-distribution"),
        (unit([0.3, 0.9], [0.66, 0.33]), "no-distribution"),
        (unit(THIRDS, [0.3, 0.9]), "swapped"),
        (unit([0.4999, 0.50005], THIRDS[::-1]), "by-too-little"),
        (unit([0.3, 0.9], [1.5, -0.5]), "negative-probability"),
        (unit([0.0, 0.9], [0.5, 0.5]), "outside-0-1"),
        (unit([0.3, 1.0], [0.5, 0.5]), "outside-0-1"),
        (unit([-2.0, 1.5], THIRDS), "outside-0-1"),
        (unit([0.3, 0.9], [0.2, 0.3, 0.5]), "lengths"),
        (unit([0.3, math.nan], [0.5, 0.5]), "not-finite"),
        (unit([0.3, 0.9], [math.nan, 0.5]), "not-finite"),
        (unit(0.3, 0.9), "no-list"),
        (unit([[0.3, 0.9]], THIRDS), "no-list"),
        (unit("ab", "cd"), "no-list"),
        (unit([], []), "no-list"),
        (lambda: [0.3, 0.9], "no-list"),
        (lambda: [0.3, 0.9, 0.5], "how-many"),
        (lambda: 0.3, "how-many"),
    ],
    "dropout_gradient": [
        (samples(1000), "not-repeatable"),
        (samples(4000, 0), "otherwise|nearly"),
        (samples(1, 0), "otherwise|nearly"),
        (by_differences(0.3), "otherwise|nearly"),
        (lambda w, x, t, k: right_gradient(w, x, 1, k), "ignores-t"),
        (lambda *args: right_gradient(*args).sum(), "no-array|single-number"),
        (lambda *args: right_gradient(*args).tolist(), "no-array|single-number"),
        (lambda w, x, t, k: right_gradient(w, x, t, k)[:, None] * x, "shape"),
        (lambda w, x, t, k: right_gradient(w, x, t, 0.5), "equal-weights"),
        (in_place, "changes-argument"),
    ],
    "weight_decay_factor": [
        (factors(inverted=lambda p: 3 * (1 - p) / p), "otherwise"),
        (factors(weight=lambda p: 4 * p * (1 - p)), "otherwise"),
        (factors(weight=lambda p: p * (1 - p) if p < 1 else 1), "otherwise"),
        (factors(inverted=lambda p: "0.25"), "no-number"),
        (lambda k, s: k * (1 - k), "inverted-no-scale"),
        (lambda k, s: 1 / k - 1, "plain-of-inverted"),
    ],
}  # fmt: skip
