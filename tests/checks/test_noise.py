"""The checks of the exercises on noise: each known misconception is told what it is.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import math

import numpy as np
import pytest
from answers import assert_told, cases, shifted
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler, normalize

from lib.checks import noise
from lib.masks import all_masks, mask_probabilities
from lib.representation import correlations


def alpha(k):
    return (1 - k) / k


def gaussian(std, mean=lambda k: 1):
    """A gaussian_mask from its standard deviation and mean, given keep_prob."""
    return lambda shape, k, rng: rng.normal(mean(k), std(k), shape)


def root(variance):
    return gaussian(lambda k: math.sqrt(variance(k)))


RIGHT_MASK = root(alpha)


def changed(change):
    """A right mask, changed afterwards."""
    return lambda shape, k, rng: change(RIGHT_MASK(shape, k, rng), k)


def loop_mask(shape, keep_prob, rng):
    mask = np.empty(shape)
    for index in np.ndindex(*shape):
        mask[index] = rng.normal(1, (1 / keep_prob - 1) ** 0.5)
    return mask


def bernoulli(shape, keep_prob, rng):
    return (rng.random(shape) < keep_prob).astype(int)


def redrawn(shape, keep_prob, rng):
    mask = RIGHT_MASK(shape, keep_prob, rng)
    while (mask < 0).any():
        mask = np.where(mask < 0, RIGHT_MASK(shape, keep_prob, rng), mask)
    return mask


def uniform(shape, keep_prob, rng):
    reach = math.sqrt(3 * alpha(keep_prob))
    return rng.uniform(1 - reach, 1 + reach, shape)


def log_normal(shape, keep_prob, rng):
    variance = math.log(1 / keep_prob)
    return rng.lognormal(-variance / 2, math.sqrt(variance), shape)


GAUSSIAN_MASK = [
    (RIGHT_MASK, None),
    (loop_mask, None),
    (lambda s, k, rng: 1 + np.sqrt(1 / k - 1) * rng.standard_normal(s), None),
    (lambda s, k, rng: RIGHT_MASK(s, k, rng).astype(np.float32), None),
    (lambda s, k, rng: rng.normal(k, math.sqrt(k * (1 - k)), s) / k, None),
    (root(lambda k: k * (1 - k)), r"is keep_prob \* \(1 - keep_prob\), that of zeros and ones"),
    (root(lambda k: k * (1 - k) / k), "what the slides"),
    (gaussian(alpha), r"rng.normal takes the standard deviation; \(1 - keep_prob\) / keep_prob is"),
    (gaussian(lambda k: k * (1 - k)), r"standard deviation is keep_prob \* \(1 - keep_prob\)\."),
    (gaussian(lambda k: 1 - k), "standard deviation is 1 - keep_prob"),
    (gaussian(lambda k: k / (1 - k)), r"standard deviation is keep_prob / \(1 - keep_prob\)"),
    (gaussian(lambda k: k), "The variance of the noise is 0.6"),
    (gaussian(lambda k: 1), "The variance is 1, whatever keep_prob"),
    (gaussian(lambda k: alpha(k) ** 0.25), "one root too many"),
    (root(lambda k: k / (1 - k)), "for the probability to drop"),
    (root(lambda k: 1 / k), "mean square of a scaled mask"),
    (root(lambda k: alpha(k) / k), "once too often"),
    (root(lambda k: 0.25), "must be 2.333"),
    (gaussian(lambda k: math.sqrt(alpha(k)), lambda k: k), "has mean keep_prob"),
    (gaussian(lambda k: math.sqrt(k * (1 - k)), lambda k: k), "has mean keep_prob"),
    (gaussian(lambda k: math.sqrt(alpha(k)), lambda k: 0), "noise to add"),
    (gaussian(lambda k: math.sqrt(alpha(k)), lambda k: 2), "has the mean 2.00"),
    (changed(lambda m, k: m / k), "mean 1/keep_prob"),
    (bernoulli, "This is a Bernoulli mask"),
    (lambda s, k, rng: bernoulli(s, k, rng) / k, "This is a Bernoulli mask"),
    (lambda s, k, rng: bernoulli(s, k, rng) * RIGHT_MASK(s, k, rng), "zeros and ones as well"),
    (changed(lambda m, k: np.maximum(m, 0)), "Negative entries were set to 0"),
    (changed(lambda m, k: np.clip(m, 0, 2)), "Negative entries were set to 0|exactly: is the mask"),
    (changed(lambda m, k: np.clip(m, 0.01, None)), "is the mask clipped there"),
    (changed(lambda m, k: np.minimum(m, 2)), "is the mask clipped there"),
    (changed(lambda m, k: np.abs(m)), "no absolute values"),
    (redrawn, "no drawing again"),
    (log_normal, "no negative entries"),
    (changed(lambda m, k: m.round()), "is something rounded"),
    (changed(lambda m, k: m.round().astype(int)), "is something rounded"),
    (uniform, "no negative entries"),
    (lambda s, k, rng: rng.laplace(1, math.sqrt(alpha(k) / 2), s), "not Gaussian"),
    (lambda s, k, rng: np.ones(s), "There is no noise"),
    (lambda s, k, rng: rng.normal(1, 1, 1) * np.ones(s), "There is no noise"),
    (
        lambda s, k, rng: np.broadcast_to(RIGHT_MASK(s[1:], k, rng), s),
        "One mask for the whole batch",
    ),
    (
        lambda s, k, rng: np.broadcast_to(RIGHT_MASK((s[0], 1), k, rng), s),
        "all units get the same noise",
    ),
    (lambda s, k, rng: RIGHT_MASK(s[1:], k, rng), "must have shape"),
    (lambda s, k, rng: RIGHT_MASK(s[0], k, rng), "must have shape"),
    (lambda s, k, rng: RIGHT_MASK(s, k, np.random.default_rng(0)), "Two calls drew the same mask"),
    (lambda s, k, rng: RIGHT_MASK(s, k, np.random.default_rng()), "same seed gave different"),
    (lambda s, k, rng: RIGHT_MASK(s, k, rng).tolist(), "must be a NumPy array"),
    (lambda s, k, rng: [[rng.normal() for _ in range(s[1])] for _ in range(s[0])], "NumPy array"),
    (lambda s, k, rng: rng.normal(1, alpha(k) ** 0.5), "NumPy array"),
]


def two_phases(train, test=lambda x, m, k: x):
    """A gaussian_dropout that refuses other phases."""

    def gaussian_dropout(x, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError(phase)
        mask = RIGHT_MASK(x.shape, keep_prob, rng)
        return (train if phase == "train" else test)(x, mask, keep_prob)

    return gaussian_dropout


def times(x, mask, keep_prob):
    return x * mask


def as_is(x, mask, keep_prob):
    return x


def with_mask(mask):
    """A gaussian_dropout with another mask."""

    def gaussian_dropout(x, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError(phase)
        return x * mask(x.shape, keep_prob, rng) if phase == "train" else x

    return gaussian_dropout


def looped(x, keep_prob, phase, rng):
    if phase not in ("train", "test"):
        raise ValueError(phase)
    out = [[value for value in row] for row in x]  # noqa: C416
    if phase == "train":
        for row in out:
            for i in range(len(row)):
                row[i] = row[i] + row[i] * rng.normal(0, math.sqrt(alpha(keep_prob)))
    return np.array(out, dtype=np.float32)


def silent(x, keep_prob, phase, rng):
    return x * RIGHT_MASK(x.shape, keep_prob, rng) if phase == "train" else x


def wrong_error(x, keep_prob, phase, rng):
    if phase not in ("train", "test"):
        raise KeyError(phase)
    return silent(x, keep_prob, phase, rng)


def in_place(x, keep_prob, phase, rng):
    if phase == "train":
        x *= RIGHT_MASK(x.shape, keep_prob, rng)
    return x


GAUSSIAN_DROPOUT = [
    (two_phases(times), None),
    (two_phases(lambda x, m, k: x + x * (m - 1)), None),
    (two_phases(times, lambda x, m, k: x.copy()), None),
    (looped, None),
    (two_phases(lambda x, m, k: x + m - 1), "noise is added to it"),
    (two_phases(lambda x, m, k: x + m), "noise is added to it"),
    (two_phases(lambda x, m, k: x * m + m - 1), "noise is added to it"),
    (two_phases(times, times), "still on at prediction"),
    (two_phases(as_is, times), "phases are swapped"),
    (two_phases(times, lambda x, m, k: k * x), "multiplied by keep_prob"),
    (two_phases(times, lambda x, m, k: x / k), "divided by keep_prob"),
    (two_phases(times, lambda x, m, k: 0 * x), "output differs from x"),
    (two_phases(times, lambda x, m, k: np.maximum(x, 0)), "output differs from x"),
    (two_phases(lambda x, m, k: x * m / k), "mean 1/keep_prob"),
    (two_phases(lambda x, m, k: x * m * k), "mean keep_prob"),
    (two_phases(lambda x, m, k: x * (m - 1)), "noise to add"),
    (two_phases(as_is), "There is no noise"),
    (two_phases(lambda x, m, k: x * m[0]), "One mask for the whole batch"),
    (two_phases(lambda x, m, k: x * m[:, :1]), "all units get the same noise"),
    (two_phases(lambda x, m, k: np.maximum(x * m, 0)), "is the product clipped"),
    (two_phases(lambda x, m, k: np.abs(x) * m), "has the mean 0"),
    (two_phases(lambda x, m, k: x * m * m), "no negative entries"),
    (with_mask(root(lambda k: 1 - k)), "what the slides"),
    (with_mask(root(lambda k: k * (1 - k))), "without a scale"),
    (with_mask(gaussian(alpha)), "rng.normal takes the standard deviation"),
    (with_mask(root(lambda k: k / (1 - k))), "upside down"),
    (with_mask(lambda s, k, rng: bernoulli(s, k, rng) / k), "This is a Bernoulli mask"),
    (with_mask(changed(lambda m, k: np.maximum(m, 0))), "Negative entries were set to 0"),
    (with_mask(changed(lambda m, k: np.abs(m))), "no absolute values"),
    (
        with_mask(lambda s, k, rng: RIGHT_MASK(s, k, np.random.default_rng(3))),
        "Two calls drew the same mask",
    ),
    (with_mask(lambda s, k, rng: RIGHT_MASK(s, 0.8, rng)), "With keep_prob=1"),
    (silent, "was accepted"),
    (wrong_error, "raised KeyError"),
    (in_place, "changed its argument x in place"),
    (lambda x, k, phase, rng: RIGHT_MASK(x.shape, k, rng), "still on at prediction"),
    (lambda x, k, phase, rng: x * RIGHT_MASK(x.shape[1:], k, rng), "still on at prediction"),
    (lambda x, k, phase, rng: silent(x, k, phase, rng).mean(axis=1), "must have shape"),
]


def penalty(base, of=alpha):
    """A dropout_penalty from a base and a factor."""
    return lambda X, w, k: of(k) * base(X, w)


def right_base(X, w):
    return np.square(w) @ np.square(X).sum(axis=0)


def loop_penalty(X, w, keep_prob):
    total = 0.0
    for row in X.tolist():
        for x, weight in zip(row, w.tolist(), strict=True):
            total += weight**2 * x**2
    return total * (1 - keep_prob) / keep_prob


def enumerated(X, w, keep_prob, y=0.0):
    masks = all_masks(len(w))
    chance = mask_probabilities(masks, keep_prob)
    total = sum(chance @ (y - (masks * x / keep_prob) @ w) ** 2 - (y - x @ w) ** 2 for x in X)
    return np.array([total])


def one_mask_a_batch(X, w, keep_prob):
    masks = all_masks(len(w))
    chance = mask_probabilities(masks, keep_prob)
    sums = ((masks / keep_prob * w) @ X.T).sum(axis=1)
    return chance @ (sums - chance @ sums) ** 2


def second_moment(X, w, keep_prob):
    return np.square(X @ w).sum() + penalty(right_base)(X, w, keep_prob)


DROPOUT_PENALTY = [
    (penalty(right_base), None),
    (loop_penalty, None),
    (enumerated, None),
    (lambda X, w, k: alpha(k) * np.linalg.norm(X * w) ** 2, None),
    (lambda X, w, k: np.float32(alpha(k)) * right_base(np.float32(X), np.float32(w)), None),
    (lambda X, w, k: np.trace(alpha(k) * np.diag(w**2) @ X.T @ X), None),
    (penalty(lambda X, w: w @ w), r"noise that is ADDED"),
    (penalty(lambda X, w: len(X) * w @ w), r"noise that is ADDED"),
    (penalty(lambda X, w: w @ w / 2), "noise that is ADDED"),
    (penalty(lambda X, w: np.abs(w).sum()), r"noise that is ADDED"),
    (penalty(right_base, lambda k: k * (1 - k)), r"is keep_prob \* \(1 - keep_prob\), that of"),
    (penalty(right_base, lambda k: k / (1 - k) if k < 1 else 0.0), "upside down"),
    (penalty(right_base, lambda k: 1 - k), "slides"),
    (penalty(right_base, lambda k: 1 / k), "mean square of a scaled mask"),
    (penalty(right_base, lambda k: alpha(k) ** 2), "squared once too often"),
    (penalty(right_base, lambda k: alpha(k) ** 0.5), "the standard deviation of the mask"),
    (penalty(right_base, lambda k: alpha(k) / k), "once too often"),
    (penalty(right_base, lambda k: 1), "keep_prob has no part in it"),
    (penalty(lambda X, w: right_base(X, w) / len(X)), "a sum over the examples, not a mean"),
    (penalty(lambda X, w: right_base(X, w) / X.size), "not a mean: so is the penalty, over exam"),
    (penalty(lambda X, w: right_base(X, w) / len(w)), "a mean over them"),
    (penalty(lambda X, w: len(X) * right_base(X, w)), "in it twice"),
    (penalty(lambda X, w: right_base(X, w) / 2), "no factor 1/2"),
    (penalty(lambda X, w: -right_base(X, w)), "sign is turned"),
    (penalty(lambda X, w: np.abs(w) @ np.square(X).sum(axis=0)), "weights are not squared"),
    (penalty(lambda X, w: w @ np.square(X).sum(axis=0)), "weights are not squared"),
    (penalty(lambda X, w: w**2 @ X.sum(axis=0)), "inputs are not squared"),
    (penalty(lambda X, w: w**2 @ np.abs(X).sum(axis=0)), "inputs are not squared"),
    (penalty(lambda X, w: np.abs(X * w).sum()), "Weights and inputs are not squared"),
    (penalty(lambda X, w: w**2 @ X.sum(axis=0) ** 2), "summed, then squared"),
    (penalty(lambda X, w: w**2 @ X.mean(axis=0) ** 2), "summed, then squared"),
    (one_mask_a_batch, "summed, then squared"),
    (penalty(lambda X, w: np.square(X @ w).sum()), "cross terms"),
    (penalty(lambda X, w: np.square(X @ w).mean()), "cross terms"),
    (penalty(lambda X, w: np.square(w).sum() * np.square(X).sum()), "summed apart"),
    (penalty(lambda X, w: np.square(X).sum()), "weights do not appear"),
    (penalty(lambda X, w: len(X) * w**2 @ X.var(axis=0)), "inputs are centred"),
    (penalty(lambda X, w: w**2 @ X.var(axis=0)), "inputs are centred"),
    (penalty(lambda X, w: w**2 @ np.linalg.norm(X, axis=0)), "A root is taken"),
    (lambda X, w, k: alpha(k) * np.linalg.norm(X * w), "A root is taken"),
    (second_moment, "mean square of the masked output"),
    (penalty(lambda X, w: np.square(X * w).sum(axis=0)), "must be one number"),
    (penalty(lambda X, w: np.square(X * w).sum(axis=1)), "must be one number"),
    (penalty(lambda X, w: w**2 @ np.square(X).sum(axis=1)), "raised ValueError"),
    (penalty(lambda X, w: w**4 @ np.square(X).sum(axis=0)), "averaged over all masks, is larger"),
    (lambda X, w, k: 0.0, "averaged over all masks, is larger"),
    (lambda X, w, k: 1 + penalty(right_base)(X, w, k), "averaged over all masks, is larger"),
    (lambda X, w, k: penalty(right_base)(X, w, k) if k < 1 else 3, "With keep_prob=1 nothing is"),
]


def norms(X):
    return np.sqrt(np.square(X).sum(axis=0))


def safe(s):
    return np.where(s > 0, s, 1)


def by_ridge(scale=norms, penalty=lambda k, n: alpha(k), undo=lambda u, s: u / s, intercept=False):
    """A dropout_by_ridge from what the columns are divided by, alpha, and how that is undone."""

    def dropout_by_ridge(X, y, keep_prob):
        s = safe(scale(X))
        u = Ridge(alpha=penalty(keep_prob, len(X)), fit_intercept=intercept).fit(X / s, y).coef_
        return undo(u, s)

    return dropout_by_ridge


def unguarded(X, y, keep_prob):
    s = norms(X)
    return Ridge(alpha=alpha(keep_prob), fit_intercept=False).fit(X / s, y).coef_ / s


def closed_form(X, y, keep_prob):
    gram = X.T @ X
    return np.linalg.pinv(gram + alpha(keep_prob) * np.diag(np.diag(gram))) @ X.T @ y


def column_by_column(X, y, keep_prob):
    X = np.float32(X)
    lengths = [sum(float(x) ** 2 for x in column) ** 0.5 or 1.0 for column in X.T]
    Z = np.column_stack([column / s for column, s in zip(X.T, lengths, strict=True)])
    u = Ridge(alpha=alpha(keep_prob), fit_intercept=False).fit(Z, y).coef_
    return np.array([value / s for value, s in zip(u, lengths, strict=True)])


def normalized(X, y, keep_prob):
    Z, s = normalize(X, axis=0, return_norm=True)
    u = Ridge(alpha=1 / keep_prob - 1, fit_intercept=False).fit(Z, y).coef_
    return u / np.where(s == 0, 1, s)


def added_rows(X, y, keep_prob):
    rows = np.vstack([X, np.diag(math.sqrt(alpha(keep_prob)) * norms(X))])
    return np.linalg.pinv(rows) @ np.concatenate([y, np.zeros(X.shape[1])])


def standardized(X, y, keep_prob):
    scaler = StandardScaler().fit(X)
    u = Ridge(alpha=alpha(keep_prob), fit_intercept=False).fit(scaler.transform(X), y).coef_
    return u / scaler.scale_


def zero_to_tiny(X, y, keep_prob):
    s = norms(X) + 1e-12
    return Ridge(alpha=alpha(keep_prob), fit_intercept=False).fit(X / s, y).coef_ / s


def ones_for_silent(X, y, keep_prob):
    w = by_ridge()(X, y, keep_prob)
    return np.where(norms(X) > 0, w, 1.0)


def least_squares(X, y, keep_prob):
    return LinearRegression(fit_intercept=False).fit(X, y).coef_


DROPOUT_BY_RIDGE = [
    (by_ridge(), None),
    (closed_form, None),
    (column_by_column, None),
    (normalized, None),
    (added_rows, None),
    (zero_to_tiny, None),
    (
        by_ridge(scale=lambda X: np.sqrt((X**2).mean(axis=0)), penalty=lambda k, n: n * alpha(k)),
        None,
    ),
    (by_ridge(scale=lambda X: norms(X) * 5, penalty=lambda k, n: alpha(k) / 25), None),
    (by_ridge(undo=lambda u, s: u), "weights of the scaled columns"),
    (by_ridge(undo=lambda u, s: u * s), "undone the wrong way"),
    (by_ridge(undo=lambda u, s: u / s / 0.7), "are divided by keep_prob"),
    (by_ridge(scale=lambda X: np.ones(X.shape[1])), "on the columns as they are"),
    (by_ridge(penalty=lambda k, n: n * alpha(k)), "times too large"),
    (by_ridge(penalty=lambda k, n: alpha(k) / n), "alpha needs no factor 1/n"),
    (by_ridge(scale=lambda X: np.sqrt((X**2).mean(axis=0))), "not of their mean"),
    (by_ridge(scale=lambda X: X.std(axis=0)), "standard deviation"),
    (by_ridge(scale=lambda X: X.std(axis=0), penalty=lambda k, n: n * alpha(k)), "about the mean"),
    (by_ridge(scale=lambda X: X.std(axis=0, ddof=1)), "about the mean"),
    (by_ridge(scale=lambda X: norms(X - X.mean(axis=0))), "about the mean"),
    (standardized, "least loss under dropout|about the mean"),
    (by_ridge(scale=lambda X: norms(X) ** 2), "ROOT of that sum"),
    (by_ridge(scale=lambda X: norms(X) ** 0.5), "root is taken twice"),
    (by_ridge(scale=lambda X: 1 / safe(norms(X))), "multiplied by their norms"),
    (by_ridge(scale=lambda X: np.abs(X).sum(axis=0)), "sums of absolute values"),
    (by_ridge(scale=lambda X: np.abs(X).max(axis=0)), "largest entries"),
    (by_ridge(scale=lambda X: np.linalg.norm(X) * np.ones(X.shape[1])), "by one number"),
    (
        lambda X, y, k: Ridge(alpha=alpha(k), fit_intercept=False).fit(normalize(X), y).coef_,
        "The rows are divided",
    ),
    (by_ridge(penalty=lambda k, n: k * (1 - k)), r"alpha is keep_prob \* \(1 - keep_prob\), that"),
    (by_ridge(penalty=lambda k, n: 1 - k), "alpha is 1 - keep_prob, which"),
    (by_ridge(penalty=lambda k, n: k / (1 - k)), "upside down"),
    (by_ridge(penalty=lambda k, n: alpha(k) ** 0.5), "the standard deviation of the mask"),
    (by_ridge(penalty=lambda k, n: alpha(k) ** 2), "squared once too often"),
    (by_ridge(penalty=lambda k, n: 1 / k), "mean square of a scaled mask"),
    (by_ridge(penalty=lambda k, n: 1), "keep_prob has no part in it"),
    (by_ridge(penalty=lambda k, n: alpha(k) / 2), "half of what it must be"),
    (by_ridge(intercept=True), "fit_intercept=False"),
    (least_squares, "no penalty"),
    (by_ridge(undo=lambda u, s: np.append(u / s, 0)), "one for each column"),
    (by_ridge(scale=lambda X: np.ones(X.shape[1]), undo=lambda u, s: u * 0), "least loss"),
    (unguarded, "divide that column by 1 instead"),
    (ones_for_silent, "its weight must be 0"),
    (lambda X, y, k: by_ridge()(X, y, k).tolist(), "must be a NumPy array"),
    (lambda X, y, k: Ridge(alpha=alpha(k)).fit(X, y), "must be a NumPy array"),
    (lambda X, y, k: Ridge(alpha=alpha(k)).fit(X / norms(X.T), y).coef_, "raised ValueError"),
]


def live(H):
    return H[:, H.any(axis=0)]


def off(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), k=1)]


def from_correlations(summary):
    return lambda H: summary(np.corrcoef(live(H), rowvar=False))


def loop_correlation(H):
    units = [column for column in H.T.tolist() if any(column)]
    total, pairs = 0.0, 0
    for i, a in enumerate(units):
        for b in units[:i]:
            total += abs(np.corrcoef(a, b)[0, 1])
            pairs += 1
    return total / pairs


def nan_mean(H):
    with np.errstate(all="ignore"):
        return np.nanmean(np.abs(upper(np.corrcoef(H.T))))


def nan_to_zero(H):
    with np.errstate(all="ignore"):
        return np.abs(off(np.nan_to_num(np.corrcoef(H.T)))).mean()


def small_denominators(H):
    centred = H - H.mean(axis=0)
    unit = centred / (centred.std(axis=0) + 1e-9)
    return np.abs(off(unit.T @ unit / len(H))).mean()


def nan_to_one(H):
    with np.errstate(all="ignore"):
        return np.abs(off(np.nan_to_num(np.corrcoef(H.T), nan=1))).mean()


def cosine(H):
    H = live(H)
    unit = H / np.linalg.norm(H, axis=0)
    return off(unit.T @ unit).mean()


MEAN_CORRELATION = [
    (from_correlations(lambda r: np.abs(off(r)).mean()), None),
    (loop_correlation, None),
    (nan_mean, None),
    (lambda H: np.abs(off(correlations(np.float32(H)))).mean().astype(np.float32), None),
    (from_correlations(lambda r: (np.abs(r).sum() - len(r)) / (len(r) ** 2 - len(r))), None),
    (from_correlations(lambda r: np.abs(r).mean()), "The diagonal is counted"),
    (from_correlations(lambda r: r.mean()), "The diagonal is counted"),
    (from_correlations(lambda r: off(r).mean()), "Signs cancel"),
    (from_correlations(lambda r: abs(off(r).mean())), "Signs cancel"),
    (lambda H: np.abs(off(np.corrcoef(live(H)))).mean(), "Examples are correlated"),
    (lambda H: np.abs(np.corrcoef(live(H))).mean(), "Examples are correlated"),
    (lambda H: np.corrcoef(H).mean(), "Examples are correlated"),
    (lambda H: np.abs(off(np.cov(live(H).T))).mean(), "These are covariances"),
    (lambda H: np.cov(live(H).T, ddof=0).mean(), "These are covariances"),
    (cosine, "These are cosines"),
    (from_correlations(lambda r: np.square(off(r)).mean()), "are squared"),
    (from_correlations(lambda r: np.abs(off(r)).sum() / r.size), "counted in the number of pairs"),
    (from_correlations(lambda r: np.abs(r - np.eye(len(r))).mean()), "counted in the number"),
    (
        from_correlations(lambda r: np.abs(upper(r)).sum() / (r.size - len(r))),
        "Half the pairs are summed",
    ),
    (
        from_correlations(lambda r: np.abs(off(r)).sum() / (len(r) * (len(r) - 1) / 2)),
        "half the pairs are counted",
    ),
    (from_correlations(lambda r: np.abs(off(r)).sum()), "This is a sum"),
    (from_correlations(lambda r: np.abs(r[r < 1 - 1e-9]).mean()), "leave out i = j"),
    (from_correlations(lambda r: np.abs(off(r)).max()), "strongest"),
    (from_correlations(lambda r: np.median(np.abs(off(r)))), "median"),
    (from_correlations(lambda r: 0.5), "all alive, the mean of"),
    (lambda H: np.abs(off(np.corrcoef(H.T))).mean(), "the mean is NaN"),
    (lambda H: np.mean([abs(v) for v in off(np.corrcoef(H.T))]), "the mean is NaN"),
    (nan_to_zero, "count as uncorrelated"),
    (small_denominators, "count as uncorrelated"),
    (nan_to_one, "it must stay"),
    (from_correlations(lambda r: r), "must be one number"),
    (from_correlations(lambda r: np.abs(r - np.eye(len(r))).mean(axis=0)), "must be one number"),
]

ANSWERS = {
    "gaussian_mask": GAUSSIAN_MASK,
    "gaussian_dropout": GAUSSIAN_DROPOUT,
    "dropout_penalty": DROPOUT_PENALTY,
    "dropout_by_ridge": DROPOUT_BY_RIDGE,
    "mean_correlation": MEAN_CORRELATION,
}


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero")
@pytest.mark.parametrize(("check", "answer", "message"), cases(noise, ANSWERS))
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    assert_told(check, answer, message, capsys)


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm(seed):
    """A right answer passes however its random numbers fall."""
    extra = np.random.default_rng(seed).integers(1, 1000)
    noise.gaussian_mask(shifted(RIGHT_MASK, extra))
    noise.gaussian_dropout(shifted(two_phases(times), extra))


def test_one_unnamed_mistake_is_not_taken_for_another():
    """Penalties that no formula of the list gives get the general message."""
    data = np.random.default_rng(0)
    for _ in range(200):
        wrong = data.uniform(0.3, 3)
        with pytest.raises(AssertionError, match="averaged over all masks, is larger"):
            noise.dropout_penalty(lambda X, w, k, wrong=wrong: wrong * right_base(X, w) + wrong)
