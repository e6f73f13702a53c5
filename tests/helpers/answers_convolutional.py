"""Answers to the exercises on convolutional networks: right ones in other styles, wrong ones."""

import itertools
import math
from functools import partial

import numpy as np
import torch
from scipy import stats
from torch import nn
from torch.nn import functional as F

from lib.checks import convolutional
from lib.layers import Dropout, SpatialDropout, linear_survival
from lib.masks import all_masks, mask_probabilities
from lib.theory.pooling import weighted_pool

spatial = convolutional.spatial_dropout.right
pooled = convolutional.pooled_mean.right
block = convolutional.residual_block.right
joined = convolutional.join.right


# Spatial dropout


def loop_spatial(x, keep_prob, rng):
    y = np.zeros_like(x)
    for i, c in np.ndindex(x.shape[:2]):
        if rng.uniform() < keep_prob:
            y[i, c] = x[i, c] / keep_prob
    return y


def einsum_spatial(x, keep_prob, rng):
    mask = rng.binomial(1, keep_prob, x.shape[:2])
    return np.einsum("nchw,nc->nchw", x, mask).astype(np.float32) / np.float32(keep_prob)


def in_torch(drop):
    def spatial_dropout(x, keep_prob, rng):
        torch.manual_seed(int(rng.integers(2**31)))
        return drop(torch.tensor(x), keep_prob)

    return spatial_dropout


def by_normal(x, keep_prob, rng):
    z = rng.standard_normal((*x.shape[:2], 1, 1))
    return x * (z < stats.norm.ppf(keep_prob)) / keep_prob


def channel_by_channel(x, keep_prob, rng):
    masks = [rng.random((len(x), 1, 1)) < keep_prob for _ in range(x.shape[1])]
    return np.stack([x[:, c] * mask / keep_prob for c, mask in enumerate(masks)], axis=1)


def of_maps(mask, keep_prob, x):
    return x * mask[..., None, None] / keep_prob


def fixed_number(x, keep_prob, rng):
    order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return of_maps(order < round(keep_prob * x.shape[1]), keep_prob, x)


def never_empty(x, keep_prob, rng):
    mask = rng.random(x.shape[:2]) < keep_prob
    mask[~mask.any(axis=1), 0] = True
    return of_maps(mask, keep_prob, x)


def mirrored(x, keep_prob, rng):
    u = rng.random(((len(x) + 1) // 2, x.shape[1]))
    return of_maps(np.concatenate([u, 1 - u])[: len(x)] < keep_prob, keep_prob, x)


def in_pairs(x, keep_prob, rng):
    mask = rng.random((len(x), (x.shape[1] + 1) // 2)) < keep_prob
    return of_maps(mask.repeat(2, axis=1)[:, : x.shape[1]], keep_prob, x)


def filled(value):
    return lambda x, p, rng: np.where(rng.random((*x.shape[:2], 1, 1)) < p, x / p, value(x))


def by_share(axes):
    def spatial_dropout(x, keep_prob, rng):
        mask = rng.random((*x.shape[:2], 1, 1)) < keep_prob
        return x * mask / np.maximum(mask.mean(axes, keepdims=True), 0.1)

    return spatial_dropout


def in_place(x, keep_prob, rng):
    x *= (rng.random((*x.shape[:2], 1, 1)) < keep_prob) / keep_prob
    return x


def noise(x, keep_prob, rng):
    return x * rng.normal(1, math.sqrt((1 - keep_prob) / keep_prob), (*x.shape[:2], 1, 1))


RIGHT_SPATIAL = [
    loop_spatial, einsum_spatial, by_normal, channel_by_channel,
    in_torch(lambda x, p: SpatialDropout(p)(x).numpy()),
    in_torch(lambda x, p: F.dropout2d(x, 1 - p)),
    lambda x, p, rng: x * (rng.random(x.shape[1::-1]).T[..., None, None] < p) / p,
]  # fmt: skip
WRONG_SPATIAL = [
    *((partial(spatial, of=of), name) for of, name in (
        (lambda *s: s, "single-pixels"), (lambda n, c, h, w: (c, h, w), "single-pixels"),
        (lambda n, c, h, w: (n, 1, h, w), "shared-by-channels"),
        (lambda n, c, h, w: (h, w), "shared-by-channels"),
        (lambda n, c, h, w: (n, c, h, 1), "whole-rows"), (lambda n, c, h, w: (h, 1), "whole-rows"),
        (lambda n, c, h, w: (n, c, 1, w), "whole-columns"),
        (lambda n, c, h, w: (n, 1, 1, w), "whole-columns"),
        (lambda n, c, h, w: (1, c, 1, 1), "shared-by-examples"),
        (lambda n, c, h, w: (c, 1, 1), "shared-by-examples"),
        (lambda n, c, h, w: (n, 1, 1, 1), "shared-by-maps"),
        (lambda n, c, h, w: (n, c), "raises"),
    )),
    *((partial(spatial, scale=scale), name) for scale, name in (
        (lambda p: 1, "not-scaled"), (lambda p: p, "multiplied"),
        (lambda p: 1 / p**2, "divided-twice"), (lambda p: p**-0.5, "divided-by-root"),
        (lambda p: 1 / (1 - p) if p < 1 else 1, "divided-by-drop"),
        (lambda p: 1 - p, "multiplied-by-drop"), (lambda p: 1.2, "other-scale"),
    )),
    *((partial(spatial, keep=keep), name) for keep, name in (
        (lambda p: 1 - p, "drop-for-keep"), (lambda p: p**2, "two-masks"),
        (lambda p: 0.5, "always-half"), (lambda p: 0.8, "share"), (lambda p: -1, "all-dropped"),
        (lambda p: 2, "no-mask"),
    )),
    (fixed_number, "fixed-total-per-example"), (never_empty, "never-empty"),
    (mirrored, "opposite-examples"), (in_pairs, "alike-maps"), (in_place, "changes-argument"),
    *((filled(value), "dropped-not-zero") for value in (
        np.mean, lambda x: 0.1 * x, lambda x: -1.7581)),
    *((by_share(axes), "by-share") for axes in ((0, 1), (1,), (0,))), (noise, "noise-for-mask"),
    (in_torch(lambda x, p: F.dropout(x, 1 - p)), "single-pixels"),
    (lambda x, p, rng: SpatialDropout(p)(torch.tensor(x)), "not-from-rng"),
    (lambda x, p, rng: spatial(x, p, np.random.default_rng(0)), "shared-by-calls"),
    (lambda x, p, rng: spatial(np.maximum(x, 0), p, rng), "activation"),
    (lambda x, p, rng: spatial(np.ones_like(x), p, rng), "mask-alone"),
    (lambda x, p, rng: spatial(x, p, rng).astype(int), "whole-numbers"),
    (lambda x, p, rng: spatial(x, p, rng).tolist(), "no-array"),
    (lambda x, p, rng: spatial(x, p, rng)[:, :, 0], "shape"),
]  # fmt: skip


# Max-pooling dropout


def kept_so_far(a, keep_prob):
    means = []
    for window in a:
        mean = 0.0
        for value in sorted(window):  # what comes out so far, unless this one is kept
            mean = keep_prob * value + (1 - keep_prob) * mean
        means.append(mean)
    return np.array(means)


def by_recursion(a, keep_prob):
    def mean(window):
        return keep_prob * window[-1] + (1 - keep_prob) * mean(window[:-1]) if window else 0

    return np.array([mean(sorted(row)) for row in a])


def by_survival_function(a, keep_prob):
    steps = np.diff(np.sort(a, axis=1), axis=1, prepend=0)
    return (steps * (1 - (1 - keep_prob) ** np.arange(a.shape[1], 0, -1))).sum(axis=1)


def ranked(a, keep_prob):
    w = keep_prob * (1 - keep_prob) ** np.arange(a.shape[1])[::-1]
    return (a * w[np.argsort(np.argsort(a, axis=1), axis=1)]).sum(axis=1).astype(np.float32)


def sorted_in_torch(a, keep_prob):
    larger = torch.arange(a.shape[1] - 1, -1, -1)
    return torch.tensor(a).sort(dim=1).values @ (keep_prob * (1 - keep_prob) ** larger).double()


def by_product(a, keep_prob):
    masks = np.array(list(itertools.product((0, 1), repeat=a.shape[1])))
    chances = (keep_prob**masks * (1 - keep_prob) ** (1 - masks)).prod(axis=1)
    return np.array([(masks * window).max(axis=1) @ chances for window in a])


def by_bits(a, keep_prob):
    means = np.zeros(len(a))
    for bits in range(2 ** a.shape[1]):
        mask = np.array([bits >> i & 1 for i in range(a.shape[1])])
        chance = (keep_prob**mask * (1 - keep_prob) ** (1 - mask)).prod()
        means += chance * (a * mask).max(axis=1)
    return means


def both_ways(a, keep_prob):
    def mean(window, largest=0.0):
        if not len(window):
            return largest
        kept = mean(window[1:], max(largest, window[0]))
        return keep_prob * kept + (1 - keep_prob) * mean(window[1:], largest)

    return np.array([mean(row) for row in a])


def enumerated(a, keep_prob):
    masks = all_masks(a.shape[1])
    return (a[:, None] * masks).max(axis=2) @ mask_probabilities(masks, keep_prob)


def sampled(a, keep_prob, seed=None):
    masks = np.random.default_rng(seed).random((1000, *a.shape)) < keep_prob
    return (a * masks).max(axis=2).mean(axis=0)


def sorting_in_place(a, keep_prob):
    a.sort(axis=1)
    return pooled(a, keep_prob)


RIGHT_POOLED = [
    kept_so_far, by_recursion, by_survival_function, ranked, sorted_in_torch, weighted_pool,
    lambda a, p: -np.sort(-a, axis=1) @ (p * (1 - p) ** np.arange(a.shape[1])),
]  # fmt: skip
WRONG_POOLED = [
    *((each, "goes-through-all") for each in (by_product, by_bits, both_ways, enumerated)),
    (sampled, "not-repeatable"), (partial(sampled, seed=0), "nearly"),
    (sorting_in_place, "changes-argument"), (lambda a, p: pooled(a, p).tolist(), "no-array"),
    (lambda a, p: pooled(a, p)[:, None], "shape"),
    (lambda a, p: np.quantile(a, p, axis=1), "otherwise|ignores-keep_prob"),
    (lambda a, p: pooled(a, p) / p, "no-factor-p"), (lambda a, p: p * a.max(1), "weight-scaling"),
    (lambda a, p: pooled(-a, p) * -1, "turned-round"),
]  # fmt: skip


# Stochastic depth

RIGHT_SURVIVAL = [
    lambda L, last: np.array(linear_survival(L, last)),
    lambda L, last: np.linspace(1, last, L + 1)[1:],
    lambda L, last: np.array([1 - b / L * (1 - last) for b in range(1, L + 1)], np.float32),
    lambda L, last: np.interp(np.arange(1, L + 1), [0, L], [1, last]),
    lambda L, last: torch.linspace(1, last, L + 1)[1:],
    lambda L, last: 1 + np.cumsum(np.full(L, (last - 1) / L)),
]
WRONG_SURVIVAL = [
    (lambda L, last: [1 - b / L * (1 - last) for b in range(1, L + 1)], "no-array"),
    (lambda L, last: np.linspace(1, last, L + 1)[1:-1], "shape"),
    (lambda L, last: last, "single-number"),
    (lambda L, last: 1 - (1 - last) / np.arange(L, 0, -1), "inverse"),
    (lambda L, last: np.linspace(1, last, L + 1)[:-1], "begins-at-0"),
    (lambda L, last: np.linspace(1, last, L + 2)[1:-1], "ends-too-early"),
    (lambda L, last: np.arange(1, L + 1) / L * (1 - last), "drop-for-survive"),
    (lambda L, last: np.exp(np.linspace(0, np.log(last), L + 1))[1:], "geometric"),
    (lambda L, last: np.cumprod(np.full(L, last ** (1 / L))), "geometric"),
    (lambda L, last: np.random.default_rng(0).uniform(last, 1, L), "otherwise"),
]


# A residual block


def a_block(train=None, test=lambda x, f, p, rng: x + f(x), phases=True):
    """A right residual_block but for one thing."""

    def residual_block(x, branch, survival_prob, phase, rng):
        if phase == "train":
            return train(x, branch, survival_prob, rng)
        if phase == "test" or not phases:
            return test(x, branch, survival_prob, rng)
        raise ValueError(phase)

    train = train or (lambda x, f, p, rng: x + f(x) / p if rng.random() < p else x)
    return residual_block


def gated(scale=lambda p: 1 / p, keep=lambda p: p, other=lambda x: x, skip=lambda x, p: x):
    return lambda x, f, p, rng: skip(x, p) + f(x) * scale(p) if rng.random() < keep(p) else other(x)


def copied_block(x, branch, survival_prob, phase, rng):
    y = x.astype(np.float32)
    if phase == "train" and rng.binomial(1, survival_prob) == 0:
        return y
    if phase not in ("train", "test"):
        raise ValueError(phase)
    y += branch(x) / (survival_prob if phase == "train" else 1)
    return y


def matched(x, branch, survival_prob, phase, rng):
    match phase:
        case "train":
            survives = rng.choice([True, False], p=[survival_prob, 1 - survival_prob])
            return x + (branch(x) / survival_prob if survives else 0)
        case "test":
            return np.add(x, branch(x))
    raise ValueError(phase)


def first_letter(x, branch, survival_prob, phase, rng):
    return block(x, branch, survival_prob, {"t": phase}.get(phase[:1], phase).lower(), rng)


def substring(x, branch, survival_prob, phase, rng):
    phase = "train" if phase in "train" else "test" if phase in ("test", "eval") else phase
    return block(x, branch, survival_prob, phase, rng)


def asserted(x, branch, survival_prob, phase, rng):
    assert phase in ("train", "test")
    return block(x, branch, survival_prob, phase, rng)


def relu(z):
    return np.maximum(z, 0)


RIGHT_BLOCK = [
    copied_block, matched,
    a_block(lambda x, f, p, rng: x + f(x) / p if rng.random() > 1 - p else 1 * x),
    a_block(test=lambda x, f, p, rng: p * (x + f(x) / p) + (1 - p) * x),
]  # fmt: skip
WRONG_BLOCK = [
    *((a_block(train), name) for train, name in (
        (gated(other=np.zeros_like), "skip-dropped"), (gated(skip=lambda x, p: 0), "gate-on-skip"),
        (gated(skip=lambda x, p: 0, other=np.zeros_like), "skip-dropped"),
        (lambda x, f, p, rng: x * (rng.random() < p) + f(x) / p, "gate-on-skip"),
        (lambda x, f, p, rng: (x + f(x) / p) * (rng.random((len(x), 1)) < p), "skip-masked"),
        (gated(other=lambda x: 1.1 * x), "skip-scaled"),
        (gated(skip=lambda x, p: x / p), "sum-scaled"),
        (gated(skip=lambda x, p: x + 1 / p - 1, other=lambda x: x + 0.1), "skip-changed"),
        (lambda x, f, p, rng: x + f(x) / p * (rng.random((len(x), 1)) < p), "gate-per-example"),
        (lambda x, f, p, rng: x + f(x) / p * (rng.random(x.shape) < p), "gate-per-unit"),
        (lambda x, f, p, rng: x + f(x) / p * (rng.random(x.shape[1:]) < p), "gate-per-unit"),
        (gated(scale=lambda p: 1), "unmodified"), (gated(scale=lambda p: p), "multiplied"),
        (gated(scale=lambda p: 1 / p**2), "divided-twice"),
        (gated(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided-by-drop"),
        (gated(scale=lambda p: 1 - p), "multiplied-by-drop"),
        (gated(scale=lambda p: 1.1), "other-scale"),
        (lambda x, f, p, rng: x + f(x / p) if rng.random() < p else x, "branch-off"),
        (gated(keep=lambda p: 1 - p), "drop-for-keep"), (gated(keep=lambda p: p**2), "two-masks"),
        (gated(keep=lambda p: 0.5), "always-half"), (gated(keep=lambda p: 2), "never-dropped"),
        (gated(keep=lambda p: -1), "never-used"),
        (lambda x, f, p, rng: x + p * f(x), "never-dropped"),
        (lambda x, f, p, rng: gated()(x, f, p, np.random.default_rng(0)), "never-.*"),
        (lambda x, f, p, rng: gated()(x, f, p, np.random.default_rng()), "not-from-rng"),
        (lambda x, f, p, rng: x + f(x) / p * (rng.random() < p), "computed-though-dropped"),
        (lambda x, f, p, rng: gated()(x, lambda x: (f(x) + f(x)) / 2, p, rng), "called-often"),
        (lambda x, f, p, rng: x + f(x) * rng.normal(1, 0.5), "noise-for-gate"),
        (lambda x, f, p, rng: gated()(x, f, p, rng)[:-1], "shape"),
    )),
    *((a_block(test=test), name) for test, name in (
        (lambda x, f, p, rng: x + p * f(x), "scaled-twice"),
        (lambda x, f, p, rng: x + f(x) / p, "divided-at-test"), (gated(), "gate-at-test"),
        (lambda x, f, p, rng: x, "no-branch-at-test"),
        (lambda x, f, p, rng: f(x), "no-skip-at-test"),
        (lambda x, f, p, rng: p * (x + f(x)), "sum-scaled-at-test"),
        (lambda x, f, p, rng: (x + f(x)) / 2, "averaged-at-test"),
        (lambda x, f, p, rng: relu(x + f(x)), "activation-at-test"),
        (lambda x, f, p, rng: x - f(x), "subtracted-at-test"),
        (lambda x, f, p, rng: x + (1 - p) * f(x), "drop-for-survive-at-test"),
        (lambda x, f, p, rng: x + 2 + f(x), "test-off"),
    )),
    (a_block(gated(lambda p: 1), lambda x, f, p, rng: x + p * f(x)), "authors-rule"),
    (a_block(gated(lambda p: 1), lambda x, f, p, rng: x + 3 * f(x)), "not-scaled"),
    (a_block(lambda x, f, p, rng: x + f(x), gated()), "phases-swapped"),
    (a_block(lambda *a: relu(gated()(*a)), lambda x, f, *a: relu(x + f(x))), "activation-after"),
    (a_block(lambda x, f, p, rng: gated()(x, lambda x: relu(f(x)), p, rng),
             lambda x, f, p, rng: x + relu(f(x))), "activation-on-branch"),
    (a_block(phases=False), "other-phase"), (first_letter, "other-phase"),
    (substring, "other-phase"), (asserted, "other-phase"),
]  # fmt: skip


# Drop-path


def loop_join(paths, keep_prob, rng):
    k, n, d = paths.shape
    out = np.empty((n, d))
    for i in range(n):
        alive = [j for j in range(k) if rng.random() < keep_prob] or [rng.integers(k)]
        out[i] = paths[alive, i].mean(axis=0)
    return out


def redrawn_join(paths, keep_prob, rng):
    """Draws again, for each example, until a path survives."""
    out = []
    for i in range(paths.shape[1]):
        b = np.zeros(len(paths), dtype=bool)
        while not b.any():
            b = rng.random(len(paths)) < keep_prob
        out.append(paths[b, i].mean(axis=0))
    return np.array(out)


def redrawn_batch(paths, keep_prob, rng):
    """Draws the whole batch again."""
    while True:
        b = rng.random(paths.shape[:2]) < keep_prob
        if b.any(axis=0).all():
            return np.einsum("kn,knd->nd", b, paths) / b.sum(axis=0)[:, None]


def nearest_survives(paths, keep_prob, rng):
    u = rng.random(paths.shape[:2])
    return averaged((u < keep_prob) | (u == u.min(axis=0)), paths)


def averaged(b, paths):
    return (b[..., None] * paths).sum(axis=0) / b.sum(axis=0)[:, None]


def in_binomial_number(paths, keep_prob, rng):
    k, n, _ = paths.shape
    number = np.maximum(rng.binomial(k, keep_prob, n), 1)
    rank = np.argsort(rng.random((k, n)), axis=0)
    return averaged(rank < number, paths).astype(np.float32)


def mean_if_none(paths, keep_prob, rng):
    b = rng.random(paths.shape[:2]) < keep_prob
    return averaged(b | ~b.any(axis=0), paths)


def one_more(paths, keep_prob, rng):
    b = rng.random(paths.shape[:2]) < keep_prob
    b[rng.integers(len(b), size=b.shape[1]), np.arange(b.shape[1])] = True
    return averaged(b, paths)


def first_always(paths, keep_prob, rng):
    b = rng.random(paths.shape[:2]) < keep_prob
    b[0] = True
    return averaged(b, paths)


def fixed_number_of_paths(paths, keep_prob, rng):
    k, n, _ = paths.shape
    return averaged(np.argsort(rng.random((k, n)), axis=0) < (k + 1) // 2, paths)


def each_feature(paths, keep_prob, rng):
    return joined(paths.reshape(len(paths), -1, 1), keep_prob, rng).reshape(paths.shape[1:])


def by_nonzero(paths, keep_prob, rng):
    total = joined(paths, keep_prob, rng, divide=lambda total, b, p: total)
    kept = np.isclose(np.einsum("knd,nd->kn", paths, total), 1)
    return total / np.maximum(((paths * kept[..., None]) != 0).sum(axis=0), 1)


def coupled(how):
    def join(paths, keep_prob, rng):
        k, n, _ = paths.shape
        u = how(rng.random((k, (n + 1) // 2)))[:, :n]
        b = u < keep_prob
        none = np.flatnonzero(~b.any(axis=0))
        b[rng.integers(k, size=len(none)), none] = True
        return averaged(b, paths)

    return join


def without_fallback(divide):
    def join(paths, keep_prob, rng):
        b = rng.random(paths.shape[:2]) < keep_prob
        return divide((b[..., None] * paths).sum(axis=0), b[..., None], keep_prob)

    return join


RIGHT_JOIN = [
    loop_join, redrawn_join, redrawn_batch, nearest_survives, in_binomial_number,
    lambda P, p, rng: joined(P[:, ::-1], p, rng)[::-1],
]  # fmt: skip
WRONG_JOIN = [
    *((without_fallback(divide), "none-left") for divide in (
        lambda t, b, p: t / b.sum(0), lambda t, b, p: t / np.maximum(b.sum(0), 1),
        lambda t, b, p: t / len(b), lambda t, b, p: t / (len(b) * p))),
    *((partial(joined, divide=divide), name) for divide, name in (
        (lambda t, b, p: t / len(b), "by-all"), (lambda t, b, p: t / len(b) / p, "by-mean-number"),
        (lambda t, b, p: t / p, "by-keep-prob"), (lambda t, b, p: t, "sum"),
        (lambda t, b, p: t / b.sum(0) / p, "mean-by-keep-prob"),
        (lambda t, b, p: t / b.sum(0) * p, "mean-times-keep-prob"),
        (lambda t, b, p: t / (b.sum(0) + 1), "by-number-plus-1"),
        (lambda t, b, p: t / b.sum(0) ** 0.5, "by-root"),
        (lambda t, b, p: t / b.sum(), "by-number-in-batch"),
        (lambda t, b, p: t / b.sum(0).mean(), "by-mean-in-batch"),
        (lambda t, b, p: t / (len(b) - b.sum(0) + 1e-12), "by-number-dropped"),
        (lambda t, b, p: t / b.mean(), "unequal"),
    )),
    *((partial(joined, lucky=lucky), name) for lucky, name in (
        (lambda rng, k, n: 0, "fixed-path"), (lambda rng, k, n: k - 1, "fixed-path"),
        (lambda rng, k, n: rng.integers(k), "one-for-all-lost"),
        (lambda rng, k, n: np.arange(n) % k, "fixed-by-example"),
    )),
    *((partial(joined, keep=keep), name) for keep, name in (
        (lambda p: 1 - p, "drop-for-keep"), (lambda p: p**2, "two-masks"),
        (lambda p: 0.5, "always-half"), (lambda p: 0.7, "other-law"), (lambda p: 2, "no-mask"),
    )),
    (partial(joined, of=lambda k, n: (k, 1)), "shared-by-examples"),
    (partial(joined, of=lambda k, n: (1, n)), "all-or-none"),
    (coupled(lambda u: u.repeat(2, axis=1)), "alike-examples"),
    (coupled(lambda u: np.concatenate([u, 1 - u], axis=1)), "opposite-examples"),
    (mean_if_none, "mean-if-none"), (one_more, "one-too-many"), (first_always, "one-always"),
    (each_feature, "apart-by-feature"), (by_nonzero, "apart-by-feature"),
    (fixed_number_of_paths, "fixed-number"),
    (lambda P, p, rng: P[rng.integers(len(P), size=P.shape[1]), np.arange(P.shape[1])], "one-path"),
    (lambda P, p, rng: P[rng.integers(len(P))], "shared-by-examples"),
    (lambda P, p, rng: P.mean(axis=0), "no-mask"), (lambda P, p, rng: 0 * P[0], "all-dropped"),
    (lambda P, p, rng: p * P.mean(axis=0), "no-mask-scaled"),
    (lambda P, p, rng: np.average(P, axis=0, weights=rng.random(len(P))), "soft-gates"),
    (lambda P, p, rng: np.max(P * (rng.random((*P.shape[:2], 1)) < p), axis=0), "apart-by-feature"),
    (lambda P, p, rng: joined(P, p, np.random.default_rng(0)), "shared-by-calls"),
    (lambda P, p, rng: joined(P, p, np.random.default_rng()), "not-from-rng"),
    (lambda P, p, rng: joined(P, p, rng).T, "shape"),
    (lambda P, p, rng: joined(P, p, rng).tolist(), "no-array"),
]  # fmt: skip


# Where dropout stands


def made(*order, drop=nn.Dropout2d, p=lambda keep: 1 - keep, conv=nn.Conv2d, norm=nn.BatchNorm2d,
         **options):  # fmt: skip
    """A block with layers in this order: d, c, b, r; and others, by what makes them."""
    options = {"padding": 1} | options

    def make_block(in_maps, out_maps, keep_prob):
        layers, maps = [], in_maps
        for kind in order:
            if kind == "d":
                layers.append(drop(p(keep_prob)))
            elif kind == "c":
                layers.append(conv(maps, out_maps, 3, **options))
                maps = out_maps
            elif kind == "b":
                layers.append(norm(maps))
            else:
                layers.append(nn.ReLU() if kind == "r" else kind())
        return nn.Sequential(*layers)

    return make_block


def nested(in_maps, out_maps, keep_prob):
    inner = nn.Sequential(nn.Conv2d(in_maps, out_maps, 3, padding="same", bias=False))
    inner.append(nn.BatchNorm2d(out_maps)).append(nn.ReLU(inplace=True))
    return nn.Sequential(nn.Dropout(1 - keep_prob), nn.Identity(), inner)


SHARED = {}


def shared_block(*sizes):
    return SHARED.setdefault(sizes, made(*"dcbr")(*sizes))


def frozen(*sizes):
    return made(*"dcbr")(*sizes).requires_grad_(False)


def lazy(maps, out_maps, size, padding):
    return nn.LazyConv2d(out_maps, size, padding=padding)


class OwnDropout(nn.Module):
    def __init__(self, p):
        super().__init__()
        self.p = p

    def forward(self, x):
        return F.dropout2d(x, self.p)


RIGHT_MAKE = [
    made(*"dcbr"), nested, made(*"dcbr", drop=nn.Dropout), made(*"dcbr", conv=lazy),
    made(*"dcbr", drop=SpatialDropout, p=lambda keep: keep), made(*"dcbr", padding_mode="reflect"),
    made(*"dcbr", drop=Dropout, p=lambda keep: keep),
    made(*"dcbr", conv=lazy, norm=lambda maps: nn.LazyBatchNorm2d()),
]  # fmt: skip
WRONG_MAKE = [
    *((made(*order), name) for order, name in (
        ("cdbr", "before-batch-norm"), ("dbcr", "before-batch-norm"), ("crdb", "before-batch-norm"),
        ("cbdr", "before-relu"), ("cbrd", "last"), ("dcrb", "order"), ("brdc", "order"),
        ("crbd", "order"), ("cbr", "layer-missing"), ("dcr", "layer-missing"),
        ("dcb", "layer-missing"),
        ("dbr", "layer-missing"), ("", "empty"), ("dcdbr", "layer-twice"), ("dcbrd", "layer-twice"),
    )),
    *((made(*"dcbr", **options), name) for name, options in (
        ("keep-for-drop", {"p": lambda keep: keep}), ("other-rate", {"drop": SpatialDropout}),
        ("other-rate", {"p": lambda keep: 0.5}), ("other-rate", {"p": lambda keep: 0.2}),
        ("other-dimensions", {"drop": nn.Dropout3d}), ("does-not-run", {"drop": nn.Dropout1d}),
        ("other-layer", {"drop": nn.AlphaDropout}), ("other-layer", {"drop": OwnDropout}),
        ("in-place", {"drop": partial(nn.Dropout, inplace=True)}), ("size", {"padding": 0}),
        ("size", {"stride": 2}), ("dilation", {"dilation": 2, "padding": 2}),
        ("kernel", {"conv": lambda i, o, size, padding: nn.Conv2d(i, o, 5, padding=2)}),
        ("groups", {"conv": lambda i, o, *a, **b: nn.Conv2d(i, o, *a, groups=math.gcd(i, o), **b)}),
        ("other-layer", {"conv": nn.ConvTranspose2d}), ("other-layer", {"norm": nn.InstanceNorm2d}),
        ("nothing-remembered", {"norm": partial(nn.BatchNorm2d, track_running_stats=False)}),
    )),
    (made(*"dcb", nn.GELU), "other-layer"), (made(*"dcb", nn.LeakyReLU), "other-layer"),
    (shared_block, "same-block"), (frozen, "frozen"),
    (lambda *sizes: made(*"dcbr")(*sizes).eval(), "eval-mode"),
    (lambda i, o, p: made(*"dcbr")(o, i, p), "does-not-run"),
    (lambda i, o, p: made(*"dcbr")(i, i, p), "other-maps"),
    (lambda *sizes: list(made(*"dcbr")(*sizes)), "what"),
    (lambda *sizes: nn.ModuleList(made(*"dcbr")(*sizes)), "what"),
]  # fmt: skip


# What batch normalization remembers


def of_maps_together(y):
    return y.var(dim=(0, 2, 3))


def with_stacks(front, batches):
    with torch.no_grad():
        train = torch.stack([of_maps_together(front.train()(b)) for b in batches]).mean(dim=0)
        test = torch.stack([of_maps_together(front.eval()(b)) for b in batches]).mean(dim=0)
    return test / train


def in_numpy(front, batches):
    means = []
    for mode in ("eval", "train"):
        getattr(front, mode)()
        outputs = [front(batch).detach().numpy() for batch in batches]
        means.append(np.mean([y.var(axis=(0, 2, 3)) for y in outputs], axis=0))
    return (means[0] / means[1]).astype(np.float32)


def by_batch_norm(front, batches):
    stored = []
    for mode in (False, True):
        front.train(mode)
        norm = nn.LazyBatchNorm2d(momentum=None, affine=False, dtype=torch.float64)
        for batch in batches:
            norm(front(batch))
        stored.append(norm.running_var)
    return stored[0] / stored[1]


def map_by_map(front, batches):
    totals = []
    for mode in (False, True):
        total = 0
        for batch in batches:
            y = front.train(mode)(batch).detach()
            total = total + np.array([y[:, m].flatten().var().item() for m in range(y.shape[1])])
        totals.append(total)
    return totals[0] / totals[1]


def on_changed_weights(front, batches):
    front.weights.data *= 2
    return with_stacks(front, batches)


RIGHT_SHIFT = [with_stacks, in_numpy, by_batch_norm, map_by_map]
WRONG_SHIFT = [
    (lambda f, batches: with_stacks(f, batches).tolist(), "no-array"),
    (lambda f, batches: with_stacks(f, batches).mean(), "shape"),
    (lambda f, batches: 1 / in_numpy(f, batches), "turned-round"),
    (lambda f, batches: in_numpy(f, batches) ** 0.5, "not-squared"),
    (lambda f, batches: np.mean([in_numpy(f, [b]) for b in batches], axis=0), "mean-of-ratios"),
    (lambda f, batches: in_numpy(f, [torch.cat(batches)]), "batches-joined"),
    (lambda f, batches: np.ones(len(f.weights)), "same-mode"),
    (lambda f, batches: np.full(len(f.weights), 0.5), "otherwise"),
    (lambda f, batches: np.array(of_maps_together(f(batches[0]))), "raises"),
    (on_changed_weights, "changes-argument"),
]


# A script with mistakes


def net_of(keep_prob, place=4, drop=nn.Dropout2d, last=nn.Dropout, p=lambda keep: 1 - keep, at=9):
    layers = [
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(), nn.Flatten(),
        nn.Linear(256, 10),
    ]  # fmt: skip
    layers.insert(place, drop(p(keep_prob)))
    layers.insert(at, last(p(keep_prob)))
    return nn.Sequential(*layers)


def in_eval(net, images, after=lambda y: y.softmax(dim=1)):
    was = net.training
    net.eval()
    y = after(net(images))
    net.train(was)
    return y


def script(predict=in_eval, change=lambda net: net, **options):
    """A right repair but for one thing."""

    def repaired(keep_prob):
        net = change(net_of(keep_prob, **options))
        return net, partial(predict, net)

    return repaired


def one_layer_twice(keep_prob):
    net = net_of(keep_prob, drop=nn.Dropout)
    net[9] = net[4]
    return net, partial(in_eval, net)


def without(name):
    return lambda net: nn.Sequential(*[each for each in net if type(each).__name__ != name])


def without_masks_only(net, images):
    for layer in net:
        layer.train("Dropout" not in type(layer).__name__)
    y = net(images).softmax(dim=1)
    net.train()
    return y


RIGHT_REPAIRED = [
    script(), script(torch.no_grad()(in_eval)), script(place=3, last=nn.Dropout2d, at=8),
    script(lambda net, images: in_eval(net, images).detach().numpy()), script(drop=nn.Dropout),
    one_layer_twice, script(last=Dropout, drop=SpatialDropout, p=lambda keep: keep),
]  # fmt: skip
WRONG_REPAIRED = [
    (script(p=lambda keep: keep), "keep-for-drop"), (script(p=lambda keep: 0.2), "other-rate"),
    (script(place=5), "before-batch-norm"), (script(place=1), "before-batch-norm"),
    (script(place=0), "image-dropped"), (script(at=10), "on-the-scores"),
    (script(last=nn.Dropout2d), "maps-of-flat"), (script(last=nn.Dropout1d), "maps-of-flat"),
    (script(last=nn.AlphaDropout), "other-dropout"),
    (script(change=without("Dropout")), "dropout-removed"),
    (script(change=without("Dropout2d")), "dropout-removed"),
    (script(change=without("BatchNorm2d")), "other-layers"),
    (script(change=without("Flatten")), "does-not-run"),
    (script(change=lambda net: nn.Sequential(nn.Conv2d(1, 8, 5, padding=2), *net[1:])),
     "other-layers"),
    (script(change=lambda net: net.eval()), "eval-mode"),
    (script(lambda net, images: net(images).softmax(dim=1)), "mask-at-prediction"),
    (script(torch.no_grad()(lambda net, images: net(images).softmax(dim=1))), "mask-at-prediction"),
    (script(without_masks_only), "learns-at-prediction"),
    (script(lambda net, images: net.eval()(images).softmax(dim=1)), "stays-in-eval"),
    (script(partial(in_eval, after=lambda y: y)), "no-softmax"),
    (script(partial(in_eval, after=lambda y: y.softmax(dim=0))), "other-prediction"),
    (script(partial(in_eval, after=lambda y: y.argmax(dim=1))), "other-prediction"),
    (script(lambda net, images: 1 / 0), "predict-raises"),
    (lambda keep_prob: net_of(keep_prob), "how-many"),
    (lambda keep_prob: (nn.Linear(64, 10), in_eval), "what"),
]  # fmt: skip


RIGHT = {
    "spatial_dropout": RIGHT_SPATIAL, "pooled_mean": RIGHT_POOLED,
    "survival_probabilities": RIGHT_SURVIVAL, "residual_block": RIGHT_BLOCK, "join": RIGHT_JOIN,
    "make_block": RIGHT_MAKE, "shift_ratios": RIGHT_SHIFT, "repaired": RIGHT_REPAIRED,
}  # fmt: skip
UNLISTED = {
    "spatial_dropout": WRONG_SPATIAL, "pooled_mean": WRONG_POOLED,
    "survival_probabilities": WRONG_SURVIVAL, "residual_block": WRONG_BLOCK, "join": WRONG_JOIN,
    "make_block": WRONG_MAKE, "shift_ratios": WRONG_SHIFT, "repaired": WRONG_REPAIRED,
}  # fmt: skip
