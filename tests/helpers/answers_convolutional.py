"""Answers to the exercises on convolutional networks: right ones in other styles, wrong ones."""

from functools import partial

import numpy as np
import torch
from torch import nn
from torch.nn import functional as F

from lib.checks import convolutional
from lib.layers import Dropout, SpatialDropout
from lib.masks import all_masks, mask_probabilities
from lib.theory.pooling import weighted_pool

spatial = convolutional.spatial_dropout.right
block = convolutional.residual_block.right
RIGHT, UNLISTED = {}, {}

# fmt: off
# Spatial dropout


def loop_spatial(x, keep_prob, rng):
    y = np.zeros_like(x)
    for i, c in np.ndindex(x.shape[:2]):
        if rng.uniform() < keep_prob:
            y[i, c] = x[i, c] / keep_prob
    return y


def torch_spatial(x, keep_prob, rng):
    torch.manual_seed(int(rng.integers(2**31)))
    return F.dropout2d(torch.tensor(x), 1 - keep_prob)


def of_maps(kept, scale=lambda kept, p: 1 / p):
    """Spatial dropout that keeps what a function of rng, n, channels and keep_prob says."""
    def spatial_dropout(x, keep_prob, rng):
        some = kept(rng, *x.shape[:2], keep_prob)
        return x * (some * scale(some, keep_prob))[..., None, None]

    return spatial_dropout


RIGHT["spatial_dropout"] = [
    loop_spatial, torch_spatial,
    lambda x, p, rng: np.float32(x.T * rng.binomial(1, p, x.shape[1::-1])).T / np.float32(p)]
UNLISTED["spatial_dropout"] = [
    (of_maps(lambda rng, n, c, p: rng.random((n, c)).argsort(1) < round(p * c)), "opposite-maps"),
    (of_maps(lambda rng, n, c, p: rng.random((n, c)) < p,
             lambda kept, p: 1 / np.maximum(kept.mean(axis=1, keepdims=True), 0.1)), "by-share"),
    (lambda x, p, rng: spatial(x, p, rng) if p < 1 else 0 * x, "keep-prob-1")]

# Stochastic depth

RIGHT["survival_probabilities"] = [
    lambda L, last: np.array([1 - b / L * (1 - last) for b in range(1, L + 1)], np.float32),
    lambda L, last: torch.linspace(1, last, L + 1)[1:],
    lambda L, last: 1 + np.cumsum(np.full(L, (last - 1) / L))]
UNLISTED["survival_probabilities"] = [
    (lambda L, last: np.random.default_rng(0).uniform(last, 1, L), "otherwise")]

# A residual block


def matched(x, branch, survival_prob, phase, rng):
    match phase:
        case "train":
            survives = rng.choice([True, False], p=[survival_prob, 1 - survival_prob])
            return x + (branch(x) / survival_prob if survives else 0)
        case "test":
            f = branch(x)
            return survival_prob * (x + f / survival_prob) + (1 - survival_prob) * x
    raise ValueError(phase)


def computed(scale):
    """A block whose branch is always computed, and scaled by a function of p and rng."""
    return lambda x, f, p, phase, rng: x + f(x) * (scale(p, rng) if phase == "train" else 1)


def only(phases):
    """A block that takes some phases for others."""
    return lambda x, f, p, phase, rng: block(x, f, p, phases.get(phase, phase), rng)


RIGHT["residual_block"] = [
    matched, lambda *given: block(*given).astype(np.float32),
    lambda x, f, p, phase, rng: -block(-x, lambda z: -f(-z), p, phase, rng)]
UNLISTED["residual_block"] = [
    (only({"rain": "train"}), "other-phase"), (only({"test": "train"}), "gate-at-test"),
    (lambda *a: (a[-1].random(), block(*a))[1], "draws-at-test"),
    (lambda *a: np.maximum(block(*a), 0), "activation-after"),
    (computed(lambda p, rng: (rng.random() < p) / p), "computed-though-dropped"),
    (computed(lambda p, rng: 1 / p), "no-mask"),
    (computed(lambda p, rng: rng.normal()), "train-1-other"),
    (lambda x, f, p, phase, rng: block(x, f, p, phase, np.random.default_rng()), "not-from-rng"),
    (lambda x, f, p, phase, rng: block(x, f, p if p < 1 else 0.5, phase, rng), "survival-prob-1")]

# Max-pooling dropout


def kept_so_far(a, keep_prob):
    mean = np.zeros(len(a))
    for value in np.sort(a, axis=1).T:  # what comes out so far, unless this one is kept
        mean = keep_prob * value + (1 - keep_prob) * mean
    return mean


def ranked(a, keep_prob):
    w = keep_prob * (1 - keep_prob) ** np.arange(a.shape[1])[::-1]
    return (a * w[np.argsort(np.argsort(a, axis=1), axis=1)]).sum(axis=1).astype(np.float32)


def enumerated(a, keep_prob):
    masks = all_masks(a.shape[1])
    return (a[:, None] * masks).max(axis=2) @ mask_probabilities(masks, keep_prob)


def sampled(a, keep_prob, seed=None):
    masks = np.random.default_rng(seed).random((1000, *a.shape)) < keep_prob
    return (a * masks).max(axis=2).mean(axis=0)


RIGHT["pooled_mean"] = [kept_so_far, ranked, weighted_pool]
UNLISTED["pooled_mean"] = [
    (enumerated, "goes-through-all"), (sampled, "not-repeatable"),
    (partial(sampled, seed=0), "nearly")]

# Drop-path


def loop_join(paths, keep_prob, rng):
    k, n, d = paths.shape
    out = np.empty((n, d))
    for i in range(n):
        alive = [j for j in range(k) if rng.random() < keep_prob] or [rng.integers(k)]
        out[i] = paths[alive, i].mean(axis=0)
    return out


def redrawn_join(paths, keep_prob, rng):
    kept = np.zeros(paths.shape[:2], bool)
    while not kept.any(axis=0).all():  # the whole batch, until each example has one
        kept = rng.random(paths.shape[:2]) < keep_prob
    return np.einsum("kn,knd->nd", kept / kept.sum(axis=0), paths)


def nearest_survives(paths, keep_prob, rng):
    u = rng.random(paths.shape[:2])
    kept = (u < keep_prob) | (u == u.min(axis=0))
    return np.einsum("kn,knd->nd", kept / kept.sum(axis=0), paths).astype(np.float32)


def joined(lucky=lambda rng, k, n: rng.integers(k, size=n), by=lambda b, p: b.sum(0),
           draw=lambda rng, k, n: rng.random((k, n))):
    """A right join but for what is drawn, or by what the sum is divided."""
    def join(paths, keep_prob, rng):
        k, n, _ = paths.shape
        b = draw(rng, k, n) < keep_prob
        none = ~b.any(axis=0)
        b[np.broadcast_to(lucky(rng, k, n), n)[none], none] = True
        return (b[..., None] * paths).sum(axis=0) / by(b[..., None], keep_prob)

    return join


def each_feature(paths, keep_prob, rng):
    return loop_join(paths.reshape(len(paths), -1, 1), keep_prob, rng).reshape(paths.shape[1:])


def never_rescued(by):
    return lambda P, p, rng: (P * (b := rng.random((*P.shape[:2], 1)) < p)).sum(0) / by(b.sum(0))


RIGHT["join"] = [loop_join, redrawn_join, nearest_survives]
UNLISTED["join"] = [
    (joined(by=lambda b, p: len(b) * p), "fixed-divisor"),
    (joined(by=lambda b, p: 1), "fixed-divisor"), (joined(by=lambda b, p: b.sum(0) * p), "unequal"),
    (joined(lambda rng, k, n: 0), "fixed-path"),
    (joined(lambda rng, k, n: rng.integers(k - 1, size=n)), "fixed-path"),
    (joined(lambda rng, k, n: rng.integers(k)), "one-for-all-lost"),
    (joined(draw=lambda rng, k, n: rng.random((k, n)).repeat(2, 1)[:, :n]), "alike-examples"),
    (joined(draw=lambda rng, k, n: rng.random((k, 1)).repeat(n, 1)), "shared-by-examples"),
    (joined(draw=lambda rng, k, n: rng.random((k, n)) ** 4), "other-law"),
    (never_rescued(lambda b: b), "not-finite"),
    (never_rescued(lambda b: b + (b == 0)), "none-left"), (each_feature, "apart-by-feature"),
    (lambda P, p, rng: P.mean(axis=0), "no-mask"),
    (lambda P, p, rng: loop_join(P, p, np.random.default_rng(0)), "shared-by-calls"),
    (lambda P, p, rng: loop_join(P, p, np.random.default_rng()), "not-from-rng"),
    (lambda P, p, rng: loop_join(P, p if p < 1 else 0.5, rng), "keep-prob-1")]

# Where dropout stands


def made(order="dcbr", p=lambda keep: 1 - keep, drop=nn.Dropout2d, norm=nn.BatchNorm2d, **options):
    """A block with layers in this order."""
    options = {"kernel_size": 3, "padding": 1} | options

    def make_block(in_maps, out_maps, keep_prob):
        layers, maps = [], in_maps
        for kind in order:
            new = {"d": lambda: drop(p(keep_prob)), "b": partial(norm, maps), "r": nn.ReLU,
                   "c": partial(nn.Conv2d, maps, out_maps, **options)}
            layers.append(new[kind]())
            maps = out_maps if kind == "c" else maps
        return nn.Sequential(*layers)

    return make_block


def nested(in_maps, out_maps, keep_prob):
    inner = nn.Sequential(nn.LazyConv2d(out_maps, 3, padding="same", bias=False))
    inner.append(nn.LazyBatchNorm2d()).append(nn.ReLU(inplace=True))
    return nn.Sequential(nn.Dropout(1 - keep_prob), nn.Identity(), inner)


SIZES = ({"padding": 0}, {"stride": 2}, {"kernel_size": 5, "padding": 2},
         {"dilation": 2, "padding": 2})
RIGHT["make_block"] = [nested, *(made(p=float, drop=each) for each in (Dropout, SpatialDropout))]
UNLISTED["make_block"] = [
    (made("cdbr"), "before-batch-norm"), (made("cbrd"), "last"), (made("dcrb"), "order"),
    (made("cbr"), "other-layer"), (made(drop=nn.Dropout3d), "other-layer"),
    (made(p=float), "keep-for-drop"), (made(p=lambda keep: 0.5), "other-rate"),
    *((made(**options), "size") for options in SIZES),
    (made(drop=partial(nn.Dropout, inplace=True)), "not-plain"),
    (made(norm=partial(nn.BatchNorm2d, track_running_stats=False)), "not-plain"),
    (lambda *sizes: made()(*sizes).eval(), "not-plain"),
    (lambda i, o, p: made()(o, i, p), "does-not-run"),
    (lambda *sizes: list(made()(*sizes)), "what"),
    (lambda *sizes, blocks={}: blocks.setdefault(sizes, made()(*sizes)), "same-block")]

# What batch normalization remembers


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
        outputs = [front.train(mode)(batch).detach().transpose(0, 1) for batch in batches]
        totals.append([sum(y[m].var().item() for y in outputs) for m in range(len(outputs[0]))])
    return np.divide(*totals)


def on_changed_weights(front, batches):
    front[0].weight.data *= 2
    return in_numpy(front, batches)


RIGHT["shift_ratios"] = [in_numpy, by_batch_norm, map_by_map]
UNLISTED["shift_ratios"] = [
    (on_changed_weights, "changes-argument"),
    (lambda f, batches: np.full(len(f[0].weight), 0.5), "otherwise|ignores-front")]

# A script with mistakes


def in_eval(net, images, after=lambda y: y.softmax(dim=1)):
    y = after(net.eval()(images))
    net.train()
    return y


def script(predict=in_eval, change=lambda net: net, place=4, drop=nn.Dropout2d, at=9,
           last=nn.Dropout, p=lambda keep: 1 - keep):
    """A right repair but for one thing."""
    def repaired(keep_prob):
        net = convolutional.repaired.right(keep_prob)[0]
        layers = [each for each in net if "Dropout" not in type(each).__name__]
        layers.insert(place, drop(p(keep_prob)))
        layers.insert(at, last(p(keep_prob)))
        net = change(nn.Sequential(*layers))
        return net, partial(predict, net)

    return repaired


def without_masks_only(net, images):
    for layer in net:
        layer.train("Dropout" not in type(layer).__name__)
    y = net(images).softmax(dim=1)
    net.train()
    return y


def without(name):
    return lambda net: nn.Sequential(*[each for each in net if type(each).__name__ != name])


RIGHT["repaired"] = [
    script(lambda net, images: in_eval(net, images).detach().numpy()),
    script(place=3, last=nn.Dropout2d, at=8), script(last=Dropout, drop=SpatialDropout, p=float),
    script(drop=nn.Dropout, change=lambda net: nn.Sequential(*net[:9], net[4], net[10]))]
UNLISTED["repaired"] = [
    (script(p=float), "keep-for-drop"), (script(place=5), "before-batch-norm"),
    (script(place=0), "misplaced"), (script(at=10), "misplaced"),
    (script(last=nn.AlphaDropout), "misplaced"), (script(last=nn.Dropout2d), "maps-of-flat"),
    (script(change=without("Dropout")), "dropout-removed"),
    (script(change=without("ReLU")), "other-layers"),
    (script(change=without("Flatten")), "does-not-run"),
    (script(change=lambda net: net.eval()), "eval-mode"),
    (script(lambda net, images: 1 / 0), "does-not-run"),
    (script(lambda net, images: net(images).softmax(dim=1)), "mask-at-prediction"),
    (script(without_masks_only), "mask-at-prediction"),
    (script(lambda net, images: net.eval()(images).softmax(dim=1)), "stays-in-eval"),
    (script(partial(in_eval, after=lambda y: y)), "other-prediction"),
    (lambda keep_prob: script()(keep_prob)[0], "how-many")]
