"""The checks of the exercises on convolutional networks: each misconception is told what it is.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import itertools
import math

import numpy as np
import pytest
import torch
from answers import assert_told, cases, shifted
from torch import nn

from lib.checks import convolutional
from lib.layers import Dropout, SpatialDropout, linear_survival
from lib.masks import all_masks, mask_probabilities
from lib.theory.pooling import weighted_pool


def spatial(
    of=lambda n, c, h, w: (n, c, 1, 1),
    scale=lambda p: 1 / p,
    keep=lambda p: p,
    after=lambda y: y,
    seed=None,
):
    """A right spatial_dropout but for one thing."""

    def spatial_dropout(x, keep_prob, rng):
        rng = rng if seed is None else np.random.default_rng(seed)
        mask = rng.random(of(*x.shape)) < keep(keep_prob)
        return after(x * mask * scale(keep_prob))

    return spatial_dropout


def loop_spatial(x, keep_prob, rng):
    y = np.zeros_like(x)
    for i, c in np.ndindex(x.shape[:2]):
        if rng.uniform() < keep_prob:
            y[i, c] = x[i, c] / keep_prob
    return y


def einsum_spatial(x, keep_prob, rng):
    mask = rng.binomial(1, keep_prob, x.shape[:2])
    return np.einsum("nchw,nc->nchw", x, mask).astype(np.float32) / np.float32(keep_prob)


def spatial_layer(x, keep_prob, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    return SpatialDropout(keep_prob)(torch.tensor(x)).numpy()


def spatial_by_share(x, keep_prob, rng):
    mask = rng.random((*x.shape[:2], 1, 1)) < keep_prob
    return x * mask / max(mask.mean(), 0.1)


def share_of_example(x, keep_prob, rng):
    mask = rng.random((*x.shape[:2], 1, 1)) < keep_prob
    return x * mask / np.maximum(mask.mean(axis=1, keepdims=True), 0.1)


def same_number_of_maps(x, keep_prob, rng):
    order = rng.permuted(np.tile(np.arange(x.shape[1]), (len(x), 1)), axis=1)
    return x * (order < round(keep_prob * x.shape[1]))[..., None, None] / keep_prob


def spatial_in_place(x, keep_prob, rng):
    x *= (rng.random((*x.shape[:2], 1, 1)) < keep_prob) / keep_prob
    return x


def gaussian_maps(x, keep_prob, rng):
    std = math.sqrt((1 - keep_prob) / keep_prob)
    return x * rng.normal(1, std, (*x.shape[:2], 1, 1))


SPATIAL_DROPOUT = [
    (spatial(), None),
    (loop_spatial, None),
    (einsum_spatial, None),
    (spatial_layer, None),
    (spatial(lambda *s: s), "Single pixels of a map"),
    (spatial(lambda n, c, h, w: (n, 1, h, w)), "in all channels at once"),
    (spatial(lambda n, c, h, w: (h, w)), "in all channels at once"),
    (spatial(lambda n, c, h, w: (c, h, w)), "Single pixels of a map"),
    (spatial(lambda n, c, h, w: (n, c, h, 1)), "Whole rows"),
    (spatial(lambda n, c, h, w: (n, 1, h, 1)), "Whole rows"),
    (spatial(lambda n, c, h, w: (n, c, 1, w)), "Whole columns"),
    (spatial(lambda n, c, h, w: (n, 1, 1, w)), "columns.*last axis"),
    (spatial(lambda n, c, h, w: (1, c, 1, 1)), "One mask for the whole batch"),
    (spatial(lambda n, c, h, w: (c, 1, 1)), "One mask for the whole batch"),
    (spatial(lambda n, c, h, w: (n, 1, 1, 1)), "whole examples are lost"),
    (spatial(lambda n, c, h, w: (1, 1, 1, 1)), "kept or dropped by one draw"),
    (spatial(lambda n, c, h, w: ()), "kept or dropped by one draw"),
    (spatial(scale=lambda p: 1), "not scaled"),
    (spatial(scale=lambda p: p), "multiplied by keep_prob"),
    (spatial(scale=lambda p: 1 / p**2), "divided by keep_prob twice"),
    (spatial(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided by 1 - keep_prob"),
    (spatial(scale=lambda p: 1 - p), "multiplied by 1 - keep_prob"),
    (spatial(scale=lambda p: 1.2), "yours is multiplied by 1.2"),
    (spatial(keep=lambda p: 1 - p), "20%.*probability to drop"),
    (
        spatial(keep=lambda p: 1 - p, scale=lambda p: 1 / (1 - p) if p < 1 else 1),
        "probability to drop",
    ),
    (spatial(keep=lambda p: p**2), "keep_prob squared"),
    (spatial(keep=lambda p: 0.5), "asks for 80%"),
    (spatial(keep=lambda p: 2, scale=lambda p: 1), "No map was dropped"),
    (spatial(keep=lambda p: -1), "Every map of every example was dropped"),
    (spatial_by_share, "share that happened to be kept"),
    (share_of_example, "share that happened to be kept"),
    (same_number_of_maps, "same number of maps"),
    (gaussian_maps, "No map was dropped"),
    (spatial_in_place, "changed its argument x in place"),
    (spatial(seed=0), "Two calls drew the same mask"),
    (lambda x, p, rng: spatial()(x, p, np.random.default_rng()), "same seed"),
    (spatial(after=lambda y: y.tolist()), "must be a NumPy array"),
    (spatial(after=lambda y: y[:, :, 0]), "must have shape"),
    (spatial(of=lambda n, c, h, w: (n, c)), "raised ValueError"),
]


def pooled(
    weight=lambda i, n, p: p * (1 - p) ** (n - i),
    order=lambda a: np.sort(a, axis=1),
    after=lambda y, a, p: y,
):
    """A right pooled_mean but for one thing; i runs from 1 to n."""

    def pooled_mean(a, keep_prob):
        n = a.shape[1]
        w = np.array([weight(i, n, keep_prob) for i in range(1, n + 1)])
        return after(order(a) @ w, a, keep_prob)

    return pooled_mean


def enumerated(a, keep_prob):
    masks = all_masks(a.shape[1])
    return (a[:, None] * masks).max(axis=2) @ mask_probabilities(masks, keep_prob)


def loop_pooled(a, keep_prob):
    means = []
    for window in a:
        mean = 0.0
        for value in sorted(window):  # what comes out so far, unless this one is kept
            mean = keep_prob * value + (1 - keep_prob) * mean
        means.append(mean)
    return np.array(means)


def by_products(a, keep_prob):
    means = np.zeros(len(a))
    for row, window in enumerate(a):
        for keeps in itertools.product((0, 1), repeat=len(window)):
            kept = [x for x, keep in zip(window, keeps, strict=True) if keep]
            chance = keep_prob ** len(kept) * (1 - keep_prob) ** (len(window) - len(kept))
            means[row] += chance * max(kept, default=0)
    return means


def by_argsort(a, keep_prob):
    w = keep_prob * (1 - keep_prob) ** np.arange(a.shape[1])[::-1]
    return (a * w[np.argsort(a, axis=1)]).sum(axis=1)


def ranked(a, keep_prob):
    w = keep_prob * (1 - keep_prob) ** np.arange(a.shape[1])[::-1]
    return (a * w[np.argsort(np.argsort(a, axis=1), axis=1)]).sum(axis=1)


def without_ties(a, keep_prob):
    rows = [np.unique(window) for window in a]
    return np.array([pooled()(row[None], keep_prob)[0] for row in rows])


def shared_ranks(a, keep_prob):
    larger = (a[:, None] > a[:, :, None]).sum(axis=2)
    return (keep_prob * (1 - keep_prob) ** larger * a).sum(axis=1)


def sampled(a, keep_prob):
    masks = np.random.default_rng().random((1000, *a.shape)) < keep_prob
    return (a * masks).max(axis=2).mean(axis=0)


def sampled_with_seed(a, keep_prob):
    masks = np.random.default_rng(0).random((1000, *a.shape)) < keep_prob
    return (a * masks).max(axis=2).mean(axis=0)


def no_single(a, keep_prob):
    return pooled()(a, keep_prob) if a.shape[1] > 1 else a[:, 0]


def zero_to_zero(a, keep_prob):
    return pooled()(a, keep_prob) if keep_prob < 1 else np.zeros(len(a))


POOLED_MEAN = [
    (pooled(), None),
    (enumerated, None),
    (loop_pooled, None),
    (by_products, None),
    (ranked, None),
    (weighted_pool, None),
    (pooled(order=lambda a: a), "by PLACE in the window"),
    (pooled(order=lambda a: np.sort(a, axis=0)), "sorts the columns"),
    (pooled(order=lambda a: np.sort(a, axis=None).reshape(a.shape)), "as one list"),
    (pooled(lambda i, n, p: p * (1 - p) ** (i - 1)), "order is turned round"),
    (pooled(order=lambda a: -np.sort(-a, axis=1)), "order is turned round"),
    (pooled(lambda i, n, p: p * (1 - p) ** (i - 1), lambda a: a), "by PLACE"),
    (by_argsort, "not the rank of each place"),
    (pooled(lambda i, n, p: p), "probability to be kept"),
    (pooled(lambda i, n, p: 1 - p), "probability to be dropped"),
    (pooled(lambda i, n, p: 1 / n), "average pooling"),
    (lambda a, p: p * a.max(axis=1), "p times the maximum"),
    (lambda a, p: a.max(axis=1), "maximum of the whole window"),
    (lambda a, p: (1 - (1 - p) ** a.shape[1]) * a.max(axis=1), "need not be the largest"),
    (pooled(lambda i, n, p: (1 - p) * p ** (n - i)), "are swapped: keep_prob"),
    (pooled(lambda i, n, p: (1 - p) * p ** (i - 1)), "swapped, and the order is turned"),
    (pooled(after=lambda y, a, p: y / (1 - (1 - p) ** a.shape[1])), "weights are normalised"),
    (pooled(lambda i, n, p: p * (1 - p) ** (n - i + 1)), "exponent is one too large"),
    (
        pooled(lambda i, n, p: p * (1 - p) ** (n - i - 1) if p < 1 else 0),
        "exponent is one too small",
    ),
    (pooled(lambda i, n, p: (1 - p) ** (n - i)), "factor p is missing"),
    (pooled(after=lambda y, a, p: y / p), "factor p is missing, or taken out"),
    (pooled(after=lambda y, a, p: y * p), "p times too small"),
    (pooled(lambda i, n, p: p**i * (1 - p) ** (n - i)), "need not be kept"),
    (pooled(lambda i, n, p: i / n), "over all its masks; yours is"),
    (without_ties, "Equal activations went wrong"),
    (shared_ranks, "Equal activations went wrong"),
    (no_single, "window of one activation"),
    (zero_to_zero, "With keep_prob=1"),
    (sampled, "masks are drawn"),
    (sampled_with_seed, "over all its masks; yours is"),
    (pooled(after=lambda y, a, p: y.mean()), "must be a NumPy array|must have shape"),
    (pooled(after=lambda y, a, p: y.tolist()), "must be a NumPy array"),
    (pooled(after=lambda y, a, p: y[:, None]), "must have shape"),
]


def survival(depth=lambda block, L: block / L, rule=lambda depth, last: 1 - depth * (1 - last)):
    def survival_probabilities(n_blocks, last):
        return rule(depth(np.arange(1, n_blocks + 1), n_blocks), last)

    return survival_probabilities


def inverse(n_blocks, last):
    return 1 - (1 - last) / np.arange(1, n_blocks + 1)


SURVIVAL = [
    (survival(), None),
    (lambda L, last: np.array(linear_survival(L, last)), None),
    (lambda L, last: np.linspace(1, last, L + 1)[1:], None),
    (lambda L, last: np.array([1 - b / L * (1 - last) for b in range(1, L + 1)]), None),
    (lambda L, last: 1 - (1 - last) * np.arange(1, L + 1) / L, None),
    (lambda L, last: survival()(L, last)[::-1], "rises with depth"),
    (lambda L, last: np.linspace(last, 1, L), "rises with depth"),
    (survival(lambda b, L: (L - b) / L), "rises with depth"),
    (lambda L, last: 1 - survival()(L, last), "probabilities to DROP a block"),
    (lambda L, last: 1 - survival()(L, last)[::-1], "from the last block on"),
    (inverse, "inversely proportional to depth"),
    (lambda L, last: 1 - (1 - last) * L / np.arange(1, L + 1), "inversely proportional"),
    (
        lambda L, last: np.clip(1 - (1 - last) * L / np.arange(1, L + 1), 0, 1),
        "inversely proportional",
    ),
    (lambda L, last: 1 / np.arange(1, L + 1), "inversely proportional"),
    (lambda L, last: last * L / np.arange(1, L + 1), "inversely proportional"),
    (lambda L, last: np.minimum(1, last * L / np.arange(1, L + 1)), "inversely proportional"),
    (lambda L, last: last / np.arange(1, L + 1), "inversely proportional"),
    (survival(lambda b, L: (b - 1) / L), "begins at 0: the first block survives for sure, and"),
    (lambda L, last: np.linspace(1, last, L), "begins at 0, and ends at `last`"),
    (survival(lambda b, L: b / (L + 1)), "divided by L \\+ 1"),
    (survival(rule=lambda d, last: last**d), "decay is geometric"),
    (lambda L, last: np.geomspace(1, last, L), "decay is geometric, and its first"),
    (lambda L, last: last ** np.arange(1, L + 1), "chance of l blocks in a row"),
    (lambda L, last: np.full(L, last), "All blocks have the same probability"),
    (survival(rule=lambda d, last: 1 - d * last), "not its probability to be dropped"),
    (lambda L, last: np.cumprod(survival()(L, last)), "multiplied up"),
    (survival(lambda b, L: (b / L) ** 2), "must survive with probability"),
    (lambda L, last: np.linspace(1, last, L + 1), "6 probabilities for 5 blocks"),
    (lambda L, last: survival()(L, last).tolist(), "must be a NumPy array"),
    (lambda L, last: survival()(L, last)[:-1], "must have shape"),
    (lambda L, last: last, "must be a NumPy array"),
    (lambda L, last: survival()(L, 0.5), "must survive with probability"),
]


def block(
    shape=lambda x: (),
    scale=lambda p: 1 / p,
    test_factor=lambda p: 1,
    survives=lambda p: p,
    together=lambda x, b, f, scale: x + b * f * scale,
    at_test=lambda x, f, factor: x + factor * f,
    lazy=True,
    on="train",
    check_phase=True,
    seed=None,
    times=1,
):
    """A right residual_block but for one thing."""

    def residual_block(x, branch, survival_prob, phase, rng):
        if check_phase and phase not in ("train", "test"):
            raise ValueError(phase)
        if phase not in on:
            f = [branch(x) for _ in range(times)][0]
            return at_test(x, f, test_factor(survival_prob))
        rng = rng if seed is None else np.random.default_rng(seed)
        b = (rng.random(shape(x)) < survives(survival_prob)) * 1.0
        f = branch(x) if not lazy or b.any() else 0 * x
        return together(x, b, f, scale(survival_prob))

    return residual_block


def plain_block(x, branch, survival_prob, phase, rng):
    if phase == "train":
        return x + branch(x) / survival_prob if rng.random() < survival_prob else x
    if phase == "test":
        return x + branch(x)
    raise ValueError("phase must be train or test")


def copied_block(x, branch, survival_prob, phase, rng):
    y = x.astype(np.float32)
    if phase == "train" and rng.binomial(1, survival_prob) == 0:
        return y
    if phase not in ("train", "test"):
        raise ValueError(phase)
    y += branch(x) / (survival_prob if phase == "train" else 1)
    return y


def all_gated(x, b, f, scale):
    return b * (x + f) * scale


def sum_scaled(x, b, f, scale):
    return (x + b * f) * scale


def survivor_scaled(x, b, f, scale):
    return (x + f) * scale if b else x


RESIDUAL_BLOCK = [
    (block(), None),
    (plain_block, None),
    (copied_block, None),
    (block(together=all_gated), "output is 0. The gate belongs to the branch alone"),
    (block(together=lambda x, b, f, s: b * x + f * s, lazy=False), "gate is on the skip path"),
    (block(together=lambda x, b, f, s: b * (x + f)), "The gate belongs to the branch alone"),
    (block(together=lambda x, b, f, s: b * f * s), "The gate belongs to the branch alone"),
    (block(together=sum_scaled), "skip path carries x on as it is"),
    (block(together=survivor_scaled), "whole sum is multiplied by 1.429"),
    (block(together=lambda x, b, f, s: x + b * f + s - 1), "must be x itself"),
    (block(lambda x: (len(x), 1)), "Each example has a gate of its own"),
    (block(lambda x: x.shape), "WHOLE branch and the whole mini-batch"),
    (block(lambda x: x.shape[1:]), "WHOLE branch and the whole mini-batch"),
    (block(lambda x: (len(x), 1), together=all_gated), "skip path is masked"),
    (block(scale=lambda p: 1), "no factor anywhere"),
    (block(scale=lambda p: 1, test_factor=lambda p: p), "authors' rule"),
    (block(scale=lambda p: 1, test_factor=lambda p: 3), "not scaled in training"),
    (block(test_factor=lambda p: p), "though training divides by it already"),
    (block(test_factor=lambda p: 1 / p), "At test the branch is divided"),
    (block(scale=lambda p: p), "branch is multiplied by survival_prob in training"),
    (block(scale=lambda p: 1 / p**2), "divided by survival_prob twice"),
    (block(scale=lambda p: 1 / (1 - p) if p < 1 else 1), "divided by 1 - survival_prob"),
    (block(scale=lambda p: 1 - p), "multiplied by 1 - survival_prob"),
    (block(scale=lambda p: 1.1), "must be x \\+ f"),
    (block(survives=lambda p: 1 - p), "survival_prob for the probability to drop"),
    (block(survives=lambda p: p**2), "survival_prob squared"),
    (block(survives=lambda p: 2), "never dropped in 450"),
    (block(survives=lambda p: -1), "never used in 450"),
    (block(on=("train", "test")), "still random at test"),
    (block(on="test"), "phases are swapped"),
    (block(seed=0), "never dropped|never used"),
    (block(lazy=False), "computed although it was dropped"),
    (block(times=2), "called 2 times"),
    (block(at_test=lambda x, f, s: x), "At test the branch is missing"),
    (block(at_test=lambda x, f, s: f), "At test the skip path is missing"),
    (block(at_test=lambda x, f, s: 0.7 * (x + f)), "whole sum is multiplied by survival_prob"),
    (block(at_test=lambda x, f, s: np.maximum(x + f, 0)), "A ReLU follows"),
    (block(at_test=lambda x, f, s: x - f), "At test the output must be"),
    (lambda *a: block()(*a[:-1], np.random.default_rng()), "same seed"),
    (block(check_phase=False), "was accepted"),
    (block(together=lambda x, b, f, s: (x + b * f * s)[:-1]), "must have shape"),
]


def joined(
    of=lambda k, n, d: (k, n, 1),
    keep=lambda p: p,
    fallback=lambda b, rng: rng.integers(len(b), size=b.shape[1]),
    divide=lambda total, b, p: total / b.sum(axis=0),
    after=lambda y: y,
    seed=None,
):
    """A right join but for one thing."""

    def join(paths, keep_prob, rng):
        rng = rng if seed is None else np.random.default_rng(seed)
        k, n, d = paths.shape
        b = np.broadcast_to(rng.random(of(k, n, d)) < keep(keep_prob), paths.shape).copy()
        if fallback is not None:
            lucky = fallback(b, rng)
            none = ~b.any(axis=(0, 2))
            b[np.broadcast_to(lucky, n)[none], none] = True
        return after(divide((b * paths).sum(axis=0), b, keep_prob))

    return join


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
    b = (u < keep_prob) | (u == u.min(axis=0))
    return (b[..., None] * paths).sum(axis=0) / b.sum(axis=0)[:, None]


def mean_if_none(paths, keep_prob, rng):
    b = rng.random((*paths.shape[:2], 1)) < keep_prob
    b[:, ~b.any(axis=(0, 2))] = True
    return (b * paths).sum(axis=0) / b.sum(axis=0)


def one_path(paths, keep_prob, rng):
    return paths[rng.integers(len(paths), size=paths.shape[1]), np.arange(paths.shape[1])]


def one_path_for_all(paths, keep_prob, rng):
    return paths[rng.integers(len(paths))]


def first_always(paths, keep_prob, rng):
    b = rng.random((*paths.shape[:2], 1)) < keep_prob
    b[0] = True
    return (b * paths).sum(axis=0) / b.sum(axis=0)


def each_feature(paths, keep_prob, rng):
    return joined()(paths.reshape(len(paths), -1, 1), keep_prob, rng).reshape(paths.shape[1:])


def weighted_survivors(paths, keep_prob, rng):
    b = (rng.random((*paths.shape[:2], 1)) < keep_prob) + 1e-3
    b = b * np.arange(1, len(paths) + 1)[:, None, None]
    return (b * paths).sum(axis=0) / b.sum(axis=0)


def zeros_if_none(total, b, p):
    return total / np.maximum(b.sum(axis=0), 1)


JOIN = [
    (joined(), None),
    (loop_join, None),
    (redrawn_join, None),
    (redrawn_batch, None),
    (nearest_survives, None),
    (joined(after=np.float32), None),
    (joined(fallback=None), "the result is NaN"),
    (joined(fallback=None, divide=zeros_if_none), "lost all of their paths, and the output is 0"),
    (joined(fallback=None, divide=lambda t, b, p: t / len(b)), "the output is 0"),
    (joined(fallback=None, divide=lambda t, b, p: t / (len(b) * p)), "the output is 0"),
    (joined(divide=lambda t, b, p: t / len(b)), "divided by k, the number of all"),
    (joined(divide=lambda t, b, p: t / (len(b) * p)), "divided by k times keep_prob"),
    (joined(divide=lambda t, b, p: t / p), "divided by keep_prob"),
    (joined(divide=lambda t, b, p: t), "divided by nothing"),
    (joined(divide=lambda t, b, p: t / b.sum(axis=0) / p), "by keep_prob on top"),
    (joined(divide=lambda t, b, p: t / (b.sum(axis=0) + 1)), "their number plus 1"),
    (joined(divide=lambda t, b, p: t / b.mean()), "must have equal weights"),
    (weighted_survivors, "No path was ever dropped|equal weights"),
    (joined(fallback=lambda b, rng: 0), "path 0 is always the one"),
    (joined(fallback=lambda b, rng: len(b) - 1), "path 2 is always the one"),
    (joined(fallback=lambda b, rng: rng.integers(len(b))), "all of them keep the same path"),
    (mean_if_none, "mean of all of them"),
    (joined(of=lambda k, n, d: (k, 1, 1)), "all examples kept the same paths"),
    (each_feature, "as a WHOLE"),
    (joined(of=lambda k, n, d: (k, n, d)), "the result is NaN"),
    (joined(of=lambda k, n, d: (1, n, 1)), "wrong sets of them"),
    (one_path, "Always exactly one path"),
    (one_path_for_all, "all examples kept the same paths"),
    (first_always, "Path 0 always survives"),
    (joined(keep=lambda p: 1 - p), "probability to drop a path"),
    (joined(keep=lambda p: p**2), "keep_prob squared"),
    (joined(keep=lambda p: 0.7), "of them must survive"),
    (joined(keep=lambda p: 2), "No path was ever dropped"),
    (lambda paths, p, rng: paths.mean(axis=0), "No path was ever dropped"),
    (lambda paths, p, rng: 0 * paths[0], "output is always 0"),
    (joined(seed=0), "Two calls drew the same mask"),
    (lambda *a: joined()(*a[:-1], np.random.default_rng()), "same seed"),
    (joined(after=lambda y: y.T), "must have shape"),
    (joined(after=lambda y: y.tolist()), "must be a NumPy array"),
]


def made(*order, drop=nn.Dropout2d, p=lambda keep: 1 - keep, conv=nn.Conv2d, **options):
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
                layers.append(nn.BatchNorm2d(maps))
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


def in_place(p):
    return nn.Dropout(p, inplace=True)


def one_lazy(maps, out_maps, size, padding):
    return nn.LazyConv2d(out_maps, size, padding=padding)


class Net(nn.Module):
    def __init__(self, *sizes):
        super().__init__()
        self.layers = made(*"dcbr")(*sizes)

    def forward(self, x):
        return self.layers(x)


def wrong_maps(in_maps, out_maps, keep_prob):
    return made(*"dcbr")(out_maps, in_maps, keep_prob)


def same_maps(in_maps, out_maps, keep_prob):
    return made(*"dcbr")(in_maps, in_maps, keep_prob)


MAKE_BLOCK = [
    (made(*"dcbr"), None),
    (nested, None),
    (made(*"dcbr", drop=nn.Dropout), None),
    (made(*"dcbr", drop=SpatialDropout, p=lambda keep: keep), None),
    (made(*"dcbr", drop=Dropout, p=lambda keep: keep), None),
    (made(*"dcbr", conv=one_lazy), None),
    (made(*"cdbr"), "REMEMBERS the variance.*here [12]\\.[0-9] times.*divides by too much"),
    (made(*"dbcr"), "REMEMBERS the variance"),
    (made(*"crdb"), "REMEMBERS the variance"),
    (made(*"cbdr"), "between batch normalization and ReLU"),
    (made(*"cbrd"), "Dropout is the last layer"),
    (made(*"dcrb"), "it must be convolution, batch normalization, ReLU"),
    (made(*"brdc"), "it must be convolution, batch normalization, ReLU"),
    (made(*"crbd"), "it must be convolution"),
    (made(*"cbr"), "no dropout layer"),
    (made(*"dcr"), "no batch normalization layer"),
    (made(*"dcb"), "no ReLU layer"),
    (made(*"dbr"), "no convolution layer"),
    (made(), "block is empty"),
    (made(*"dcdbr"), "more than one dropout layer"),
    (made(*"dcbr", p=lambda keep: keep), "the probability to DROP"),
    (made(*"dcbr", drop=SpatialDropout), "must drop with probability 0.2"),
    (made(*"dcbr", p=lambda keep: 0.5), "must drop with probability 0.2; yours drops with 0.5"),
    (made(*"dcbr", drop=nn.Dropout3d), "made for other data"),
    (made(*"dcbr", drop=nn.Dropout1d), "does not run"),
    (made(*"dcbr", drop=nn.AlphaDropout), "AlphaDropout is not among"),
    (made(*"dcbr", drop=in_place), "changed its input"),
    (made(*"dcb", nn.GELU), "GELU is not among"),
    (made(*"dcbr", padding=0), "came out as 5x7"),
    (made(*"dcbr", stride=2), "came out as 4x5"),
    (made(*"dcbr", conv=lambda i, o, size, padding: nn.Conv2d(i, o, 5, padding=2)), "yours is 5x5"),
    (wrong_maps, "does not run on 4 maps"),
    (same_maps, "must return out_maps=6"),
    (shared_block, "returned the same block"),
    (lambda *sizes: list(made(*"dcbr")(*sizes)), "Return an nn.Sequential"),
    (Net, "Return an nn.Sequential"),
]

ANSWERS = {
    "spatial_dropout": SPATIAL_DROPOUT,
    "pooled_mean": POOLED_MEAN,
    "survival_probabilities": SURVIVAL,
    "residual_block": RESIDUAL_BLOCK,
    "join": JOIN,
    "make_block": MAKE_BLOCK,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize(("check", "answer", "message"), cases(convolutional, ANSWERS))
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    SHARED.clear()
    assert_told(check, answer, message, capsys)


@pytest.mark.parametrize("by", range(1, 5))
def test_no_false_alarm(by):
    """A right answer passes however its random numbers fall."""
    convolutional.spatial_dropout(shifted(spatial(), by))
    convolutional.residual_block(shifted(block(), by))
    convolutional.join(shifted(joined(), by))
    convolutional.join(shifted(redrawn_join, by))


def test_the_block_does_not_touch_the_generator():
    torch.manual_seed(3)
    before = torch.get_rng_state()
    convolutional.make_block(made(*"dcbr"))
    assert torch.equal(before, torch.get_rng_state())
