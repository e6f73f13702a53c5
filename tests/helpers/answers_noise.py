"""Answers to the exercises on noise: right ones in other styles, wrong ones not in the tables."""

import math

import numpy as np
import torch
from scipy import stats
from sklearn.linear_model import Ridge
from sklearn.preprocessing import StandardScaler, normalize

from lib.checks.noise import living, norms, variance
from lib.masks import all_masks, mask_probabilities


def gaussian(std, mean=lambda k: 1):
    """A gaussian_mask from its standard deviation and mean, given keep_prob."""
    return lambda shape, k, rng: rng.normal(mean(k), std(k), shape)


def standard(draw):
    """A mask from a function of mean 0 and variance 1."""
    return lambda shape, k, rng: 1 + math.sqrt(variance(k)) * draw(shape, rng)


right_mask = standard(lambda shape, rng: rng.normal(size=shape))


def one_by_one(shape, rng):
    return np.reshape([rng.normal() for _ in np.ndindex(*shape)], shape)


def box_muller(shape, rng):
    u, v = rng.random((2, *shape))
    return np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)


def antithetic(shape, rng):
    half = rng.normal(size=(-(-shape[0] // 2), *shape[1:]))
    return np.concatenate([half, -half])[: shape[0]]


DRAWN = [  # masks, and what is wrong with them
    (gaussian(lambda k: (1 - k) ** 0.5), "slides"),
    (gaussian(lambda k: 0.6), "variance"),
    (gaussian(variance), "variance-as-deviation"),
    (gaussian(lambda k: (k * (1 - k)) ** 0.5, lambda k: k), "mean-keep-prob"),
    (gaussian(lambda k: variance(k) ** 0.5, lambda k: 0), "noise-to-add"),
    (gaussian(lambda k: variance(k) ** 0.5, lambda k: 2), "mean"),
    (lambda s, k, rng: right_mask(s, k, rng) / k, "mean-inverse"),
    (lambda s, k, rng: (rng.random(s) < k) / k, "bernoulli"),
    (lambda s, k, rng: right_mask(s, k, rng).round(3), "repeated-values"),
    (lambda s, k, rng: np.maximum(right_mask(s, k, rng), 0), "no-negative-entries"),
    (standard(lambda s, rng: rng.random((12, *s)).sum(axis=0) - 6), "not-gaussian"),
    (standard(antithetic), "opposite-.*"),
    (standard(lambda s, rng: stats.zscore(rng.normal(size=s), axis=None)), "fixed-total-per-call"),
    (lambda s, k, rng: np.ones(s), "no-noise"),
    (lambda s, k, rng: np.broadcast_to(right_mask(s[1:], k, rng), s), "shared-by-examples"),
    (lambda s, k, rng: right_mask((s[0], 1), k, rng) * np.ones(s), "shared-by-units"),
    (lambda s, k, rng: right_mask(s, k, np.random.default_rng(0)), "shared-by-calls"),
    (lambda s, k, rng: right_mask(s, k, np.random.default_rng()), "not-from-rng"),
    (lambda s, k, rng: right_mask(s, min(k, 0.99), rng), "keep-prob-1"),
]


def two_phases(
    train=lambda x, m, k: x * m, test=lambda x, m, k: x, mask=right_mask, known=("train", "test")
):
    """A gaussian_dropout that refuses other phases."""

    def gaussian_dropout(x, keep_prob, phase, rng):
        if phase not in known:
            raise ValueError(phase)
        return (train if phase == "train" else test)(x, mask(x.shape, keep_prob, rng), keep_prob)

    return gaussian_dropout


def loop_activity(H):
    units = [column for column in H.T.tolist() if any(column)]
    values = [value for column in units for value in column]
    active = sum(value > 0 for value in values) / len(values)
    return H.shape[1] - len(units), active, sum(values) / len(values)


def torch_activity(H):
    H = torch.tensor(H, dtype=torch.float32)
    dead = (H == 0).all(dim=0)
    return dead.sum(), (H[:, ~dead] > 0).float().mean(), H[:, ~dead].mean()


def by_scores(H, small=0):
    z = np.float32(H) - np.float32(H).mean(axis=0)
    z = z / (z.std(axis=0) + small)
    r = np.abs(z.T @ z / len(z))
    return (r.sum() - np.trace(r)) / (len(r) ** 2 - len(r))


def enumerated(X, w, keep_prob, y=0.0):
    masks = all_masks(len(w))
    chance = mask_probabilities(masks, keep_prob)
    total = sum(chance @ (y - (masks * x / keep_prob) @ w) ** 2 - (y - x @ w) ** 2 for x in X)
    return np.array([total])


def sampled(X, w, keep_prob, n=2000):
    masks = np.random.default_rng(0).random((n, *X.shape)) < keep_prob
    return ((masks / keep_prob * X) @ w).var(axis=0).sum()


def ridge(Z, y, alpha):
    return Ridge(alpha=alpha, fit_intercept=False).fit(Z, y).coef_


def normalized(X, y, keep_prob):
    Z, s = normalize(np.float32(X), axis=0, return_norm=True)
    return ridge(Z / 5, y, variance(keep_prob) / 25) / np.where(s == 0, 1, s) / 5


def added_rows(X, y, keep_prob):
    rows = np.vstack([X, np.diag(math.sqrt(variance(keep_prob)) * norms(X))])
    return np.linalg.pinv(rows) @ np.concatenate([y, np.zeros(X.shape[1])])


def standardized(X, y, keep_prob):
    scaler = StandardScaler().fit(X)
    return ridge(scaler.transform(X), y, variance(keep_prob)) / scaler.scale_


RIGHT = {
    "gaussian_mask": [
        standard(one_by_one),
        standard(box_muller),
        lambda s, k, rng: rng.normal(k, math.sqrt(k * (1 - k)), s) / k,
        lambda s, k, rng: right_mask(s[::-1], k, rng).T.astype(np.float32),
    ],
    "gaussian_dropout": [
        two_phases(test=lambda x, m, k: x.copy(), mask=standard(one_by_one)),
        two_phases(lambda x, m, k: np.float32(x) + x * (m - 1), mask=standard(box_muller)),
        two_phases(lambda x, m, k: np.reshape([a * b for a, b in np.broadcast(x, m)], x.shape)),
    ],
    "activity": [
        loop_activity,
        torch_activity,
        lambda H: [sum(H.max(0) == 0), (living(H) > 0).mean(0).mean(), H.sum() / living(H).size],
    ],
    "mean_correlation": [
        lambda H: by_scores(living(H)),
        lambda H: np.nanmean(np.abs(np.corrcoef(H.T)[np.triu_indices(H.shape[1], k=1)])),
        lambda H: np.mean([abs(np.corrcoef(a, b)[0, 1]) for i, a in enumerate(living(H).T)
                           for b in living(H).T[:i]]),
    ],
    "dropout_penalty": [
        enumerated,
        lambda X, w, k: sum((1 - k) / k * (a * b) ** 2 for a, b in np.broadcast(X, w)),
        lambda X, w, k: np.float32(variance(k)) * np.linalg.norm(np.float32(X * w)) ** 2,
        lambda X, w, k: np.trace(variance(k) * np.diag(w**2) @ X.T @ X),
    ],
    "dropout_by_ridge": [
        normalized,
        added_rows,
        lambda X, y, k: ridge(X / (s := norms(X) + 1e-12), y, variance(k)) / s,
    ],
}  # fmt: skip

UNLISTED = {
    "gaussian_mask": DRAWN,
    "gaussian_dropout": [
        (two_phases(mask=DRAWN[0][0]), "slides"),
        (two_phases(lambda x, m, k: x + m - 1), "added"),
        (two_phases(test=lambda x, m, k: x * m), "noise-at-prediction"),
        (two_phases(lambda x, m, k: x, lambda x, m, k: x * m), "phases-swapped"),
        (two_phases(test=lambda x, m, k: k * x), "not-the-identity"),
        (two_phases(lambda x, m, k: np.maximum(x * m, 0)), "depends-on-x"),
        (two_phases(lambda x, m, k: x * np.abs(x) * m), "depends-on-x"),
        (two_phases(known="train, test"), "other-phase"),
    ],
    "activity": [(lambda H: (~H.any(axis=0), living(H) > 0, living(H)), "no-number")],
    "mean_correlation": [(lambda H: by_scores(H, small=1e-9), "dead-uncorrelated")],
    "dropout_penalty": [
        (sampled, "otherwise|nearly"),
        (lambda X, w, k: enumerated(X, w, k) if k < 1 else 3, "otherwise"),
    ],
    "dropout_by_ridge": [
        (lambda X, y, k: ridge(X / norms(X), y, variance(k)) / norms(X), "column-of-zeros"),
        (standardized, "standard-deviation"),
        (lambda X, y, k: ridge(X, y, 0), "ignores-keep_prob"),
    ],
}  # fmt: skip
