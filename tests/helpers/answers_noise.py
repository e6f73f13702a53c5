"""Answers to the exercises on noise: right ones in other styles, wrong ones not in the tables."""

import math

import numpy as np
import torch
from sklearn.linear_model import LinearRegression, Ridge
from sklearn.preprocessing import StandardScaler, normalize

from lib.masks import all_masks, mask_probabilities


def alpha(keep_prob):
    return (1 - keep_prob) / keep_prob


# Masks


def gaussian(std, mean=lambda k: 1):
    """A gaussian_mask from its standard deviation and mean, given keep_prob."""
    return lambda shape, k, rng: rng.normal(mean(k), std(k), shape)


def root(variance):
    return gaussian(lambda k: math.sqrt(variance(k)))


right_mask = root(alpha)


def changed(change):
    """A right mask, changed afterwards."""
    return lambda shape, k, rng: change(right_mask(shape, k, rng), k)


def standard(draw):
    """A mask from a function of mean 0 and variance 1."""
    return lambda shape, k, rng: 1 + math.sqrt(alpha(k)) * draw(shape, rng)


def loop_mask(shape, keep_prob, rng):
    mask = np.empty(shape)
    for index in np.ndindex(*shape):
        mask[index] = rng.normal(1, (1 / keep_prob - 1) ** 0.5)
    return mask


def box_muller(shape, rng):
    u, v = rng.random((2, *shape))
    return np.sqrt(-2 * np.log(1 - u)) * np.cos(2 * np.pi * v)


def through_torch(shape, rng):
    generator = torch.Generator().manual_seed(int(rng.integers(2**31)))
    return torch.randn(shape, generator=generator).numpy()


def bernoulli(shape, keep_prob, rng):
    return (rng.random(shape) < keep_prob).astype(int)


def redrawn(shape, keep_prob, rng):
    mask = right_mask(shape, keep_prob, rng)
    while (mask < 0).any():
        mask = np.where(mask < 0, right_mask(shape, keep_prob, rng), mask)
    return mask


def log_normal(shape, keep_prob, rng):
    variance = math.log(1 / keep_prob)
    return rng.lognormal(-variance / 2, math.sqrt(variance), shape)


def antithetic(shape, rng):
    half = rng.normal(size=(-(-shape[0] // 2), *shape[1:]))
    return np.concatenate([half, -half])[: shape[0]]


def common(shape, rng):
    """Each draw has a half that belongs to its row."""
    rows = rng.normal(size=(shape[0], *[1] * (len(shape) - 1)))
    return (rng.normal(size=shape) + rows) * 0.5**0.5


def standardised(z, axis=None):
    return (z - z.mean(axis, keepdims=True)) / z.std(axis, keepdims=True)


# A layer


def two_phases(train, test=lambda x, m, k: x):
    """A gaussian_dropout that refuses other phases."""

    def gaussian_dropout(x, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError(phase)
        mask = right_mask(x.shape, keep_prob, rng)
        return (train if phase == "train" else test)(x, mask, keep_prob)

    return gaussian_dropout


def times(x, mask, keep_prob):
    return x * mask


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
    out = x.tolist()
    if phase == "train":
        for row in out:
            for i in range(len(row)):
                row[i] = row[i] + row[i] * rng.normal(0, math.sqrt(alpha(keep_prob)))
    return np.array(out, dtype=np.float32)


def by_match(x, keep_prob, phase, rng):
    match phase:
        case "train":
            return np.einsum("nu,nu->nu", x, loop_mask(x.shape, keep_prob, rng))
        case "test":
            return +x
    raise ValueError("train or test")


def lenient(refuses):
    """A right layer that accepts other phases as well."""

    def gaussian_dropout(x, keep_prob, phase, rng):
        if refuses(phase):
            raise ValueError(phase)
        return x * right_mask(x.shape, keep_prob, rng) if phase == "train" else x

    return gaussian_dropout


def wrong_error(x, keep_prob, phase, rng):
    return {"train": x * right_mask(x.shape, keep_prob, rng), "test": x}[phase]


def in_place(x, keep_prob, phase, rng):
    if phase == "train":
        x *= right_mask(x.shape, keep_prob, rng)
    return x


# Hidden units


def loop_activity(H):
    units = [column for column in H.T.tolist() if any(column)]
    values = [value for column in units for value in column]
    active = sum(value > 0 for value in values) / len(values)
    return H.shape[1] - len(units), active, sum(values) / len(values)


def masked_activity(H):
    dead = np.isclose(H.sum(axis=0), 0, atol=0)
    live = np.ma.masked_array(H, np.broadcast_to(dead, H.shape))
    return np.array([dead.sum(), (live > 0).mean(), live.mean()])


def torch_activity(H):
    H = torch.tensor(H, dtype=torch.float32)
    dead = (H == 0).all(dim=0)
    live = H[:, ~dead]
    return dead.sum(), torch.count_nonzero(live) / live.numel(), live.mean()


def live(H):
    return H[:, H.any(axis=0)]


def upper(matrix):
    return matrix[np.triu_indices(len(matrix), k=1)]


def loop_correlation(H):
    units = [column for column in H.T.tolist() if any(column)]
    pairs = [abs(np.corrcoef(a, b)[0, 1]) for i, a in enumerate(units) for b in units[:i]]
    return sum(pairs) / len(pairs)


def nan_mean(H):
    return np.nanmean(np.abs(upper(np.corrcoef(H.T))))


def by_scores(H):
    z = standardised(live(np.float32(H)), 0)
    r = np.einsum("ni,nj->ij", z, z) / len(H)
    return (np.abs(r).sum() - len(r)) / (len(r) ** 2 - len(r))


def small_denominators(H):
    centred = H - H.mean(axis=0)
    unit = centred / (centred.std(axis=0) + 1e-9)
    r = np.abs(unit.T @ unit / len(H))
    return (r.sum() - np.trace(r)) / (len(r) * (len(r) - 1))


# Linear models


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


def sampled(X, w, keep_prob, n=2000):
    masks = np.random.default_rng(0).random((n, *X.shape)) < keep_prob
    return ((masks / keep_prob * X) @ w).var(axis=0).sum()


def norms(X):
    return np.sqrt(np.square(X).sum(axis=0))


def safe(s):
    return np.where(s > 0, s, 1)


def by_ridge(scale=norms, penalty=lambda k, n: alpha(k), undo=lambda u, s: u / s, **settings):
    """A dropout_by_ridge from what the columns are divided by, alpha, and how that is undone."""

    def dropout_by_ridge(X, y, keep_prob):
        s = safe(scale(X))
        ridge = Ridge(alpha=penalty(keep_prob, len(X)), **{"fit_intercept": False} | settings)
        return undo(ridge.fit(X / s, y).coef_, s)

    return dropout_by_ridge


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


def raising(X, y, keep_prob):
    s = norms(X)
    return Ridge(alpha=alpha(keep_prob), fit_intercept=False).fit(X / s, y).coef_ / s


def standardized(X, y, keep_prob):
    scaler = StandardScaler().fit(X)
    u = Ridge(alpha=alpha(keep_prob), fit_intercept=False).fit(scaler.transform(X), y).coef_
    return u / scaler.scale_


def least_squares(X, y, keep_prob):
    return LinearRegression(fit_intercept=False).fit(X, y).coef_


RIGHT = {
    "gaussian_mask": [
        loop_mask,
        standard(lambda shape, rng: rng.standard_normal(shape)),
        standard(box_muller),
        standard(through_torch),
        changed(lambda m, k: m.astype(np.float32)),
        lambda s, k, rng: rng.normal(k, math.sqrt(k * (1 - k)), s) / k,
        lambda s, k, rng: right_mask(s[::-1], k, rng).T,
    ],
    "gaussian_dropout": [
        looped,
        by_match,
        two_phases(lambda x, m, k: x + x * (m - 1)),
        two_phases(times, lambda x, m, k: x.copy()),
        with_mask(standard(box_muller)),
    ],
    "activity": [
        loop_activity,
        masked_activity,
        torch_activity,
        lambda H: [sum(H.max(0) == 0), np.count_nonzero(H) / live(H).size, H.sum() / live(H).size],
        lambda H: (int(sum(H.sum(0) == 0)), (live(H) > 0).mean(0).mean(), live(H).mean(1).mean()),
    ],
    "mean_correlation": [
        loop_correlation,
        nan_mean,
        by_scores,
        lambda H: np.abs(upper(np.corrcoef(live(H).T))).mean(),
        lambda H: np.ma.masked_invalid(np.abs(upper(np.corrcoef(H.T)))).mean(),
    ],
    "dropout_penalty": [
        loop_penalty,
        enumerated,
        lambda X, w, k: alpha(k) * np.linalg.norm(X * w) ** 2,
        lambda X, w, k: np.float32(alpha(k)) * np.square(np.float32(X * w)).sum(),
        lambda X, w, k: np.trace(alpha(k) * np.diag(w**2) @ X.T @ X),
        lambda X, w, k: alpha(k) * np.einsum("ni,ni,i,i->", X, X, w, w),
        lambda X, w, k: np.sum(np.square(X * w / k) * k * (1 - k)),
    ],
    "dropout_by_ridge": [
        by_ridge(),
        closed_form,
        column_by_column,
        normalized,
        added_rows,
        by_ridge(lambda X: norms(X) + 1e-12),
        by_ridge(lambda X: np.sqrt((X**2).mean(axis=0)), lambda k, n: n * alpha(k)),
        by_ridge(lambda X: norms(X) * 5, lambda k, n: alpha(k) / 25),
        by_ridge(solver="lsqr", tol=1e-10),
    ],
}  # fmt: skip

DRAWN = [  # masks, and what is wrong with them
    (root(lambda k: k * (1 - k)), "no-scale"),
    (root(lambda k: 1 - k), "slides"),
    (root(lambda k: k / (1 - k) if k < 1 else 0), "upside-down"),
    (root(lambda k: 1 / k), "mean-square"),
    (root(lambda k: alpha(k) / k), "divided-once-more"),
    (root(lambda k: 0.4), "variance"),
    (gaussian(alpha), "variance-as-deviation"),
    (gaussian(lambda k: k * (1 - k)), "no-scale-as-deviation"),
    (gaussian(lambda k: 1 - k), "slides-as-deviation"),
    (gaussian(lambda k: k), "variance"),
    (gaussian(lambda k: 1), "always-1"),
    (gaussian(lambda k: alpha(k) ** 0.25), "root-of-variance"),
    (gaussian(lambda k: alpha(k) ** 0.5, lambda k: k), "mean-keep-prob"),
    (gaussian(lambda k: (k * (1 - k)) ** 0.5, lambda k: k), "mean-keep-prob"),
    (gaussian(lambda k: alpha(k) ** 0.5, lambda k: 0), "noise-to-add"),
    (gaussian(lambda k: alpha(k) ** 0.5, lambda k: 2), "mean"),
    (changed(lambda m, k: m / k), "mean-inverse"),
    (lambda s, k, rng: bernoulli(s, k, rng) / k, "bernoulli"),
    (bernoulli, "bernoulli"),
    (lambda s, k, rng: bernoulli(s, k, rng) * right_mask(s, k, rng), "zeros-as-well"),
    (changed(lambda m, k: np.maximum(m, 0)), "clipped-at-0"),
    (changed(lambda m, k: np.clip(m, 0.01, None)), "clipped"),
    (changed(lambda m, k: np.minimum(m, 2)), "clipped"),
    (changed(lambda m, k: np.abs(m)), "no-negative-entries"),
    (redrawn, "no-negative-entries"),
    (log_normal, "no-negative-entries"),
    (standard(lambda s, rng: rng.uniform(-(3**0.5), 3**0.5, s)), "no-negative-entries"),
    (standard(lambda s, rng: rng.laplace(0, 0.5**0.5, s)), "not-gaussian"),
    (standard(lambda s, rng: 2 * rng.random((3, *s)).sum(axis=0) - 3), "not-gaussian"),
    (standard(lambda s, rng: rng.random((12, *s)).sum(axis=0) - 6), "not-gaussian"),
    (standard(lambda s, rng: rng.standard_t(10, s) * 0.8**0.5), "not-gaussian"),
    (standard(antithetic), "opposite-.*"),
    (standard(lambda s, rng: np.repeat(rng.normal(size=s), 2, axis=0)[: s[0]]), "alike-.*"),
    (standard(lambda s, rng: standardised(rng.normal(size=s))), "fixed-total-per-call"),
    (standard(lambda s, rng: standardised(rng.normal(size=s), 0)), "fixed-total-per-.*"),
    (standard(common), "alike-.*"),
    (changed(lambda m, k: m.round(1)), "rounded"),
    (lambda s, k, rng: np.ones(s), "no-noise"),
    (lambda s, k, rng: rng.normal(1, 1, 1) * np.ones(s), "shared-by-examples"),
    (lambda s, k, rng: np.broadcast_to(right_mask(s[1:], k, rng), s), "shared-by-examples"),
    (lambda s, k, rng: right_mask((s[0], 1), k, rng) * np.ones(s), "shared-by-units"),
    (lambda s, k, rng: right_mask(s, k, np.random.default_rng(0)), "shared-by-calls"),
    (lambda s, k, rng: right_mask(s, k, np.random.default_rng()), "not-from-rng"),
    (lambda s, k, rng: right_mask(s, min(k, 0.99), rng), "keep-prob-1"),
]  # fmt: skip

UNLISTED = {
    "gaussian_mask": [
        *DRAWN,
        (lambda s, k, rng: right_mask(s[1:], k, rng), "shape"),
        (changed(lambda m, k: m.tolist()), "no-array|single-number"),
        (lambda s, k, rng: rng.normal(1, alpha(k) ** 0.5), "no-array|single-number"),
        (lambda s, k, rng: right_mask((s[0], s[1]), k, rng), "shape"),
    ],
    "gaussian_dropout": [
        *((with_mask(mask), name) for mask, name in DRAWN),
        (two_phases(lambda x, m, k: x + m - 1), "added"),
        (two_phases(lambda x, m, k: x + m), "added"),
        (two_phases(lambda x, m, k: x + np.abs(x).max() * (m - 1)), "added"),
        (two_phases(times, times), "noise-at-prediction"),
        (two_phases(lambda x, m, k: x, times), "phases-swapped"),
        (two_phases(times, lambda x, m, k: k * x), "multiplied-at-prediction"),
        (two_phases(times, lambda x, m, k: x / k), "divided-at-prediction"),
        (two_phases(times, lambda x, m, k: 0 * x), "not-the-identity"),
        (two_phases(times, lambda x, m, k: np.maximum(x, 0)), "not-the-identity"),
        (two_phases(lambda x, m, k: x * (m - 1)), "noise-to-add"),
        (two_phases(lambda x, m, k: np.maximum(x * m, 0)), "zeros-as-well"),
        (two_phases(lambda x, m, k: np.abs(x) * m), "sign-lost"),
        (two_phases(lambda x, m, k: x * np.abs(x) * m), "depends-on-x"),
        (two_phases(lambda x, m, k: x * m * m), "no-negative-entries"),
        (lenient(lambda phase: False), "other-phase"),
        (lenient(lambda phase: phase == "predict"), "other-phase"),
        (lenient(lambda phase: phase.lower() not in ("train", "test")), "other-phase"),
        (lenient(lambda phase: phase not in "train, test"), "other-phase"),
        (wrong_error, "other-phase"),
        (in_place, "changes-argument"),
        (with_mask(lambda s, k, rng: right_mask(s, k, rng).mean(axis=1)), "raises"),
        (two_phases(lambda x, m, k: (x * m).mean(axis=1)), "shape"),
    ],
    "activity": [
        (lambda H: ((H == 0).all(0).sum(), (H > 0).mean()), "how-many"),
        (lambda H: (~H.any(axis=0), live(H) > 0, live(H)), "no-number"),
        (lambda H: (int(H.sum() == 0), *loop_activity(H)[1:]), "ignores-H|otherwise"),
        (lambda H: tuple(round(float(each), 2) for each in loop_activity(H)), "rounded-to-2"),
    ],
    "mean_correlation": [
        (small_denominators, "dead-uncorrelated"),
        (lambda H: np.mean([abs(v) for v in upper(np.corrcoef(H.T))]), "dead-give-nan"),
        (lambda H: np.corrcoef(live(H).T), "no-number"),
        (lambda H: np.abs(np.corrcoef(live(H).T)).mean(axis=0), "no-number"),
        (lambda H: 0.5, "ignores-H"),
    ],
    "dropout_penalty": [
        (lambda X, w, k: alpha(k) * np.square(X * w).sum(axis=0), "no-number"),
        (lambda X, w, k: alpha(k) * np.square(X * w).sum(axis=1), "no-number"),
        (lambda X, w, k: alpha(k) * w**2 @ np.square(X).sum(axis=1), "raises"),
        (lambda X, w, k: 0.0, "ignores-X"),
        (lambda X, w, k: 1 + loop_penalty(X, w, k), "otherwise"),
        (lambda X, w, k: loop_penalty(X, w, k) if k < 1 else 3, "otherwise"),
        (lambda X, w, k: loop_penalty(X, w, 0.5), "always-1"),
        (sampled, "otherwise|nearly"),
    ],
    "dropout_by_ridge": [
        (raising, "column-of-zeros"),
        (standardized, "standard-deviation"),
        (least_squares, "no-penalty"),
        (by_ridge(undo=lambda u, s: np.append(u / s, 0)), "shape"),
        (by_ridge(undo=lambda u, s: u * 0), "ignores-X"),
        (lambda X, y, k: by_ridge()(X, y, k).tolist(), "no-array|single-number"),
        (lambda X, y, k: Ridge(alpha=alpha(k)).fit(X, y), "no-array|single-number"),
        (lambda X, y, k: Ridge(alpha=alpha(k)).fit(X / norms(X.T), y).coef_, "raises"),
    ],
}  # fmt: skip
