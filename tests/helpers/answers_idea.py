"""Answers to the exercises on the idea: right ones in other styles, wrong ones not in the table."""

import math

import numpy as np
import torch
from scipy import stats
from scipy.special import expit


def loop_mask(n_examples, n_units, keep_prob, rng):
    return np.array([[rng.random() < keep_prob for _ in range(n_units)] for _ in range(n_examples)])


def loop_layer(x, weights, bias, keep_prob, phase, rng):
    out = np.empty((x.shape[0], weights.shape[0]))
    for n, row in enumerate(x):
        h = 1 / (1 + np.exp(bias - weights @ row))
        out[n] = h * rng.binomial(1, keep_prob, h.size) if phase == "train" else keep_prob * h
    return out


def by_stages(train, test=lambda z, k: k * expit(z)):
    """A layer from what it makes of z and a mask in training, and of z at prediction."""

    def dropout_layer(x, weights, bias, keep_prob, phase, rng):
        z = x @ weights.T - bias
        mask = loop_mask(*z.shape, keep_prob, rng)
        return test(z, keep_prob) if phase == "test" else train(z, mask, keep_prob)

    return dropout_layer


def one_unit_at_a_time(grad_y, x, weights, bias, mask):
    grads = np.zeros_like(x), np.zeros_like(weights), np.zeros_like(bias)
    for n, j in np.ndindex(mask.shape):
        h = expit(weights[j] @ x[n] - bias[j])
        g = grad_y[n, j] * mask[n, j] * h * (1 - h)
        grads[0][n] += g * weights[j]
        grads[1][j] += g * x[n]
        grads[2][j] -= g
    return [*grads]


def through_the_mask(grad_y, x, weights, bias, mask):
    h = mask * expit(x @ weights.T - bias)
    z = (grad_y * mask * h * (1 - h)).astype(np.float32)
    return z @ weights, np.einsum("nj,ni->ji", z, x), -z.sum(0)


def by_torch(grad_y, x, weights, bias, mask):
    given = [torch.tensor(each, requires_grad=True) for each in (x, weights, bias)]
    y = torch.tensor(mask) * torch.sigmoid(given[0] @ given[1].T - given[2])
    return torch.autograd.grad(y, given, torch.tensor(grad_y))


def while_steps(keep_prob, confidence):
    reached, n = 0.0, 0
    while reached < confidence - 1e-12:
        n += 1
        reached = 1 - (1 - keep_prob) ** n
    return np.int64(n)


def by_ttest(ours, baseline):
    d = ours - baseline
    low, high = stats.ttest_1samp(d, 0).confidence_interval()
    return [d.mean(), low, high, int((d * d.mean() > 0).sum())]


def by_sem(ours, baseline):
    d = np.subtract(ours, baseline)
    low, high = stats.t.interval(0.95, len(d) - 1, loc=np.mean(d), scale=stats.sem(d))
    return np.array([np.mean(d), low, high, sum(np.sign(each) == np.sign(d.mean()) for each in d)])


def loop_rate(rates, val_loss):
    scores = [sum(min(curve) for curve in of_rate) for of_rate in val_loss]
    best = scores.index(min(scores))
    return float(rates[best]), best == 0 or best == len(rates) - 1


def by_masks(layer):
    h = np.full((200, 100), 2.0)
    rng = np.random.default_rng(3)
    train, again = layer(h, 0.7, "train", rng), layer(h, 0.7, "train", rng)
    return (
        set(np.unique(train)) == {0, 2}
        and (train != again).any()
        and abs(train.mean() / 2 - 0.7) < 0.03
        and 0.5 < train.mean(axis=0).min() < train.mean(axis=0).max() < 1.95
        and train.mean(axis=1).min() > 0.2
        and np.allclose(layer(h, 0.7, "test", rng), 1.4)
    )


def by_moments(layer):
    rng, ones = np.random.default_rng(1), np.ones((4000, 6))
    masks = np.array([layer(ones, 0.3, "train", rng) for _ in range(3)])
    if not np.isin(masks, [0, 1]).all() or not np.allclose(layer(ones, 0.4, "test", rng), 0.4):
        return 0
    pairs = np.corrcoef(masks.reshape(-1, 6).T) - np.eye(6)
    same = max((masks[0] == masks[1]).mean(), (masks[0] == masks[0][0]).mean())
    return int(abs(masks.mean() - 0.3) < 0.03 and np.abs(pairs).max() < 0.2 and same < 0.9)


def share_kept(layer, n, off):
    train = layer(np.ones((n, n)), 0.5, "train", np.random.default_rng())
    return abs(train.mean() - 0.5) < off


RIGHT = {
    "batch_mask": [
        loop_mask,
        lambda n, m, keep_prob, rng: rng.choice([0, 1], p=[1 - keep_prob, keep_prob], size=(n, m)),
        lambda n, m, keep_prob, rng: np.where(rng.uniform(size=(n, m)) > 1 - keep_prob, 1.0, 0.0),
        lambda n, m, keep_prob, rng: rng.binomial(1, keep_prob, (m, n)).T.astype(np.uint8),
    ],
    "dropout_layer": [
        loop_layer,
        by_stages(lambda z, m, k: np.where(m, expit(z), 0).astype(np.float32)),
        lambda x, w, b, k, phase, rng: expit(x @ w.T - b)
        * (k if phase == "test" else rng.random((len(x), len(w))) < k),
    ],
    "layer_gradients": [one_unit_at_a_time, through_the_mask, by_torch],
    "steps_needed": [
        while_steps,
        lambda p, c: 1 if p == 1 else math.ceil(math.log(1 - c) / math.log(1 - p) - 1e-9),
        lambda p, c: float(next(n for n in range(1, 10**5) if (1 - p) ** n <= 1 - c + 1e-12)),
    ],
    "paired_comparison": [by_ttest, by_sem, lambda a, b: tuple(map(float, by_sem(a, b)))],
    "choose_rate": [
        loop_rate,
        lambda r, v: [b := r[np.argsort(v.min(2).mean(1))[0]], b in (r.min(), r.max())],
        lambda r, v: ((s := v.min(2).mean(1)), (r[s.argmin()], s.argmin() in [0, len(r) - 1]))[1],
    ],
    "is_dropout": [by_masks, by_moments, lambda layer: np.bool_(by_masks(layer))],
}  # fmt: skip

UNLISTED = {
    "batch_mask": [
        (lambda n, m, p, rng: np.tile(loop_mask(n, 1, p, rng), (1, m)), "shared-by-units"),
        (lambda n, m, p, rng: loop_mask(n, m, p, rng) / p, "factor-in-mask"),
        (lambda n, m, p, rng: np.repeat(loop_mask(n, -(-m // 2), p, rng), 2, 1)[:, :m], ".*unit.*"),
    ],
    "dropout_layer": [
        (lambda x, w, b, k, phase, rng: loop_layer(x, w, b, k, "train", rng), "mask-at-prediction"),
        (lambda x, w, b, k, phase, rng: loop_layer(x, w, -b, k, phase, rng), "bias-sign"),
        (by_stages(lambda z, m, k: m * np.tanh(z), lambda z, k: np.tanh(z)), "other-activation"),
        (by_stages(lambda z, m, k: m * expit(z), lambda z, k: expit(k * z)), "factor-inside"),
        (by_stages(lambda z, m, k: m * expit(z), lambda z, k: expit(z)), "no-scale"),
        (by_stages(lambda z, m, k: m * expit(z) / k), "inverted"),
        (by_stages(lambda z, m, k: m * expit(z) * k), "wrong-phase"),
        (by_stages(lambda z, m, k: expit(m * z)), "mask-inside"),
    ],
    "layer_gradients": [
        (lambda g, x, w, b, m: one_unit_at_a_time(g, x, w, b, m)[::-1], "shape"),
        (lambda g, x, w, b, m: one_unit_at_a_time(-g, x, w, b, m), "sign"),
        (
            lambda *a: tuple(np.clip(each, -1, 1) for each in one_unit_at_a_time(*a)),
            "otherwise|nearly",
        ),
    ],
    "steps_needed": [
        (lambda p, c: 1 if p == 1 else math.log(1 - c) / math.log(1 - p), "not-whole"),
        (lambda p, c: math.ceil(math.log(1 - c) / math.log(1 - p)), "raises"),
    ],
    "choose_rate": [(lambda r, v: (v.min(2).mean(1).min(), False), "otherwise")],
    "is_dropout": [
        (lambda layer: False, "rejects-arrays"),
        (lambda layer: share_kept(layer, 50, 0.01), "rejects-.*"),
        (lambda layer: share_kept(layer, 99, 0.1), "accepts-mask-at-prediction"),
    ],
}  # fmt: skip
