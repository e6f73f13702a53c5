"""Answers on normalization: right ones in other styles, wrong ones that are in no table."""

import itertools
import math

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.special import expit
from torch import nn

from lib.masks import all_masks, bernoulli_mask, mask_probabilities


def loop_mask(shape, k, rng):
    entries = [1 / k if rng.random() < k else 0 for _ in range(math.prod(shape))]
    return np.array(entries).reshape(shape)


def mask(shape, k, rng):
    return (rng.random(shape) < k) / k


def by_row(shape, k, rng):
    out = [mask(shape[1:], k, rng) for _ in range(shape[0])]
    return np.stack(out)


def phases(train, test=lambda a, m, k: a, allowed=("train", "test")):
    """A dropout2 from what to do with activations, given a right mask of 0 and 1."""

    def dropout2(act, keep_prob, phase, rng):
        if phase not in allowed:
            raise ValueError(phase)
        kept = (rng.random(act.shape) < keep_prob).astype(int)
        return (train if phase == "train" else test)(act, kept, keep_prob)

    return dropout2


def inverted(a, m, k):
    return a * m / k


def by_match(act, keep_prob, phase, rng):
    match phase:
        case "test":
            return act.copy()
        case "train":
            out = act / keep_prob
            out[rng.random(act.shape) >= keep_prob] = 0
            return out
        case _:
            raise ValueError("no such phase")


def in_torch(act, keep_prob, phase, rng):
    if phase not in {"train", "test"}:
        raise ValueError
    torch.manual_seed(int(rng.integers(2**31)))
    return F.dropout(torch.tensor(act), 1 - keep_prob, phase == "train").numpy()


def fold(place, of=lambda k: k, on_bias=lambda f: 1):
    """A fold_into_weights from the places of the factors."""
    return lambda layers, keep_probs: [
        (f * w, on_bias(f) * b)
        for f, (w, b) in zip(place([of(k) for k in keep_probs]), layers, strict=True)
    ]


def loop_fold(layers, keep_probs):
    new = [layers[0]]
    for i in range(1, len(layers)):
        w, b = layers[i]
        new.append([w @ np.diag(np.full(w.shape[1], keep_probs[i - 1])), b.astype(np.float32)])
    return tuple(new)


def recursive_fold(layers, keep_probs, f=1.0):
    (w, b), *rest = layers
    return [(w * f, b)] + (recursive_fold(rest, keep_probs[1:], keep_probs[0]) if rest else [])


def copied_fold(layers, keep_probs):
    new = [(w.copy(), b.copy()) for w, b in layers]
    for (w, _), k in zip(new[1:], keep_probs, strict=True):
        w *= k
    return new


def fold_in_place(layers, keep_probs):
    for (w, _), k in zip(layers[1:], keep_probs, strict=True):
        w *= k
    return layers


def masked_weights(layers, keep_probs):
    rng = np.random.default_rng(0)
    return [(w * (rng.random(w.shape) < k), b) for k, (w, b) in zip([1, *keep_probs], layers)]  # noqa: B905


def over_masks(combine, sigmoid=expit):
    def exact_mean(h, w, b, k):
        masks = all_masks(len(h))
        return combine(mask_probabilities(masks, k), sigmoid(masks * h @ w - b))

    return exact_mean


def loop_mean(h, w, b, k):
    total = 0.0
    for m in itertools.product((0, 1), repeat=len(h)):
        chance = math.prod(k if kept else 1 - k for kept in m)
        total += chance / (1 + math.exp(b - sum(map(math.prod, zip(m, h, w, strict=True)))))
    return total


def recursive_mean(h, w, b, k):
    if len(h) == 0:
        return expit(-b)
    return k * recursive_mean(h[1:], w[1:], b - h[0] * w[0], k) + (1 - k) * recursive_mean(
        h[1:], w[1:], b, k
    )


def net(forward, drop=lambda keep_prob: nn.Dropout(1 - keep_prob)):
    """A FunctionalNet with this forward pass from the hidden units on."""

    class FunctionalNet(nn.Module):
        def __init__(self, n_inputs, n_units, n_outputs, keep_prob):
            super().__init__()
            self.keep_prob = keep_prob
            self.hidden = nn.Linear(n_inputs, n_units)
            self.out = nn.Linear(n_units, n_outputs)
            self.drop = drop(keep_prob)

        def forward(self, x):
            return forward(self, torch.relu(self.hidden(x)))

    return FunctionalNet


def dropped(h, s, **settings):
    return F.dropout(h, 1 - s.keep_prob, s.training, **settings)


def before_relu(s, h):
    return s.out(torch.relu(dropped(h, s)))


def own_mask(s, h):
    if not s.training:
        return s.out(h)
    return s.out(torch.where(torch.rand_like(h) < s.keep_prob, h / s.keep_prob, 0.0))


def sampled(combine, keep=lambda k: k, y=expit, rows=lambda n: n, draw=bernoulli_mask):
    """mc_average from the outputs of sampled masks."""

    def mc_average(h, w, b, k, n, rng):
        if n < 2:
            raise ValueError(n)
        z = draw((rows(n), len(h)), keep(k), rng) * h @ w - b
        return combine(y(z), z, n)

    return mc_average


def pair(y, z=None, n=None):
    return y.mean(), y.std(ddof=1) / len(y) ** 0.5


def unguarded(refuse, least=2):
    return lambda h, w, b, k, n, rng: (
        refuse() if n < least else sampled(pair)(h, w, b, k, max(n, 2), rng)
    )


def welford(h, w, b, k, n, rng):
    if not n >= 2:
        raise ValueError("two at the least")
    mean = square = 0.0
    for i in range(1, n + 1):
        z = -b + sum(hi * wi for hi, wi in zip(h, w, strict=True) if rng.random() < k)
        y = 1 / (1 + math.exp(-z))
        off = y - mean
        mean += off / i
        square += off * (y - mean)
    return [mean, math.sqrt(square / (n - 1) / n)]


def twice(h, w, b, k, n, rng):
    return sampled(pair)(h, w, b, k, n, rng)[0], sampled(pair)(h, w, b, k, n, rng)[1]


RIGHT = {
    "inverted_mask": [
        loop_mask,
        by_row,
        lambda shape, k, rng: rng.binomial(1, k, shape) / k,
        lambda shape, k, rng: np.where(rng.random(shape) >= 1 - k, 1 / k, 0.0),
        lambda shape, k, rng: rng.choice([0, 1 / k], size=shape, p=[1 - k, k]).astype(np.float32),
        lambda shape, k, rng: np.vectorize(lambda u: (u < k) / k)(rng.random(shape)),
    ],
    "dropout2": [
        phases(inverted),
        phases(lambda a, m, k: np.where(m, a / k, 0), lambda a, m, k: a.copy()),
        phases(lambda a, m, k: (a * m / k).astype(np.float32)),
        by_match,
        in_torch,
    ],
    "fold_into_weights": [
        fold(lambda k: [1, *k]), loop_fold, recursive_fold, copied_fold,
        lambda layers, k: [layers[0]] + [(w * f, b) for (w, b), f in zip(layers[1:], k)],  # noqa: B905
    ],
    "exact_mean": [
        over_masks(lambda c, y: c @ y),
        over_masks(lambda c, y: (c * y).sum() / c.sum()),
        over_masks(lambda c, y: np.average(y, weights=c), lambda z: 0.5 * (1 + np.tanh(z / 2))),
        over_masks(lambda c, y: torch.tensor(c) @ torch.tensor(y)),
        over_masks(lambda c, y: np.float32(c) @ np.float32(y)),
        loop_mean,
        recursive_mean,
    ],
    "functional_net": [
        net(lambda s, h: s.out(dropped(h, s))),
        net(lambda s, h: s.out(s.drop(h))),
        net(lambda s, h: F.linear(dropped(h, s), s.out.weight, s.out.bias)),
        net(lambda s, h: s.out(F.dropout(h, 1 - s.keep_prob) if s.training else h)),
        net(before_relu),
        net(own_mask),
    ],
    "mc_average": [
        sampled(pair),
        sampled(lambda y, z, n: (y.mean(), stats.sem(y))),
        sampled(lambda y, z, n: (y.mean(), y.std() / math.sqrt(n - 1))),
        sampled(lambda y, z, n: np.array(pair(y.astype(np.float32)))),
        sampled(lambda y, z, n: (torch.tensor(y).mean(), torch.tensor(y).std() / n**0.5)),
        welford,
    ],
}  # fmt: skip


def opposite(shape, rng):
    half = rng.random((-(-shape[0] // 2), *shape[1:]))
    return np.concatenate([half, 1 - half])[: shape[0]]


UNLISTED = {
    "inverted_mask": [
        (lambda shape, k, rng: mask(shape, k, rng) * k * k, "times-keep"),
        (lambda shape, k, rng: mask(shape, k, rng) * k, "no-scale"),
        (lambda shape, k, rng: mask(shape, k, rng) * k / (1 - k), "factor-of-drop"),
        (lambda shape, k, rng: mask(shape, k, rng) / k, "divided-twice"),
        (lambda shape, k, rng: mask(shape, k, rng) * k**0.5, "root"),
        (lambda shape, k, rng: mask(shape, k, rng) * k * 2, "another-factor"),
        (lambda shape, k, rng: (m := rng.random(shape) < k) / m.mean(), "by-share"),
        (lambda s, k, rng: (m := rng.random(s) < k) / m.mean(-1, keepdims=True), "by-share"),
        (lambda shape, k, rng: mask(shape, k, rng) * rng.uniform(0.5, 1.5, shape), "several-.*"),
        (lambda shape, k, rng: rng.normal(1, (1 / k - 1) ** 0.5, shape), "not-zero"),
        (lambda shape, k, rng: (rng.random(shape) > k) / k, "drop-for-keep"),
        (lambda shape, k, rng: mask(shape, 1 - k, rng) if k < 1 else np.ones(shape), "drop-.*"),
        (lambda shape, k, rng: mask(shape[1:], k, rng) * np.ones(shape), "shared-by-examples"),
        (lambda shape, k, rng: mask(shape, k, np.random.default_rng(0)), "shared-by-calls"),
        (lambda shape, k, rng: mask(shape, k, np.random.default_rng()), "not-from-rng"),
        (lambda shape, k, rng: mask(shape, 0.8, rng), "always-half|share"),
        (lambda shape, k, rng: mask(shape[1], k, rng), "shape"),
        (lambda s, k, rng: (np.argsort(rng.random(s)) < round(k * s[-1])) / k, "fixed-total-.*"),
        (lambda s, k, rng: np.repeat(mask((*s[:-1], s[-1] // 2), k, rng), 2, -1), "alike-units"),
        (lambda s, k, rng: (opposite(s, rng) < k) / k, "opposite-examples"),
        (lambda s, k, rng: np.where(rng.random(s) < k, 1 / k, -1), "not-zero"),
    ],
    "dropout2": [
        (phases(inverted, inverted), "mask-at-prediction"),
        (phases(inverted, lambda a, m, k: a * m), "mask-at-prediction"),
        (phases(lambda a, m, k: a, inverted), "phases-swapped"),
        (phases(lambda a, m, k: a * m, lambda a, m, k: k * a), "original-rule"),
        (phases(lambda a, m, k: a * m, lambda a, m, k: a / k), "divided-at-prediction"),
        (phases(lambda a, m, k: a * m), "no-scale"),
        (phases(lambda a, m, k: m * a * k), "times-keep"),
        (phases(lambda a, m, k: m * a / k**2), "divided-twice"),
        (phases(lambda a, m, k: m * a / (1 - k)), "factor-of-drop"),
        (phases(inverted, lambda a, m, k: k * a), "scaled-twice"),
        (phases(inverted, lambda a, m, k: a / k), "both-phases"),
        (phases(lambda a, m, k: (1 - m) * a / k), "drop-for-keep"),
        (phases(lambda a, m, k: m[0] * a / k), "shared-by-examples"),
        (phases(lambda a, m, k: m[:, :1] * a / k), "shared-by-units"),
        (phases(lambda a, m, k: m * a / m.mean()), "by-share"),
        (phases(lambda a, m, k: m * a / m.mean(axis=1, keepdims=True)), "by-share"),
        (phases(lambda a, m, k: m * a * 3), "factors-None-1"),
        (phases(lambda a, m, k: np.where(m, a / k, a.mean())), "not-zero"),
        (phases(lambda a, m, k: np.where(m, a / k, a)), "not-zero"),
        (phases(lambda a, m, k: a * m * np.linalg.norm(a) / np.linalg.norm(a * m)), "several-.*"),
        (phases(lambda a, m, k: np.maximum(a * m / k, 0), lambda a, m, k: np.maximum(a, 0)),
         "other-function"),
        (phases(inverted, lambda a, m, k: a * m.mean()), "random-at-prediction"),
        (phases(lambda a, m, k: m * a / 0.8), "factors-.*"),
        (phases(inverted, allowed=("train", "test", "eval")), "other-phase"),
        (lambda a, k, phase, rng: phases(inverted)(a, k, phase.lower(), rng), "other-phase"),
        (lambda a, k, phase, rng: a if phase == "test" else a * mask(a.shape, k, rng), "other-.*"),
        (lambda a, k, phase, rng: np.multiply(a, mask(a.shape, k, rng), out=a), "changes-argument"),
    ],
    "fold_into_weights": [
        (fold_in_place, "changes-argument"),
        (lambda layers, k: [w for w, _ in layers], "no-pairs"),
        (lambda layers, k: [(w.T, b) for w, b in layers], "shape"),
        (masked_weights, "otherwise"),
    ],
    "exact_mean": [
        (over_masks(lambda c, y: c * y), "no-number"),
        (lambda h, w, b, k: over_masks(lambda c, y: c @ y)(h, w, 0 * b, k), "no-bias"),
        (lambda h, w, b, k: sampled(pair)(h, w, b, k, 50, np.random.default_rng())[0],
         "not-repeatable"),
    ],
    "functional_net": [
        (net(lambda s, h: s.out(F.dropout(h, 1 - s.keep_prob))), "mask-at-prediction"),
        (net(lambda s, h: s.out(nn.Dropout(1 - s.keep_prob)(h))), "mask-at-prediction"),
        (net(lambda s, h: s.out(F.dropout(h))), "mask-at-prediction"),
        (net(lambda s, h: s.out(F.dropout(h, s.keep_prob, s.training))), "drop-for-keep"),
        (net(lambda s, h: s.out(F.dropout(h, training=s.training))), "always-half"),
        (net(lambda s, h: s.out(dropped(h, s) * (1 if s.training else s.keep_prob))),
         "scaled-twice"),
        (net(lambda s, h: s.out(dropped(h, s) / (s.keep_prob if s.training else 1))),
         "divided-twice"),
        (net(lambda s, h: s.out(dropped(h, s) * (s.keep_prob if s.training else 1))), "no-scale"),
        (net(lambda s, h: dropped(s.out(h), s)), "output-dropped"),
        (net(lambda s, h: s.out(h)), "no-mask"),
        (net(lambda s, h: s.out(F.dropout1d(h, 1 - s.keep_prob, s.training))), "shared-by-units"),
        (net(lambda s, h: s.out(F.alpha_dropout(h, 1 - s.keep_prob, s.training))), "not-zero"),
        (net(lambda s, h: h), "shape"),
        (net(lambda s, h: s.out(F.dropout(h, 0.2, s.training))), "share"),
        (net(lambda s, h: s.out(dropped(h.detach(), s))), "no-gradient"),
        (net(lambda s, h: s.out(dropped(h, s, inplace=True))), "no-gradient"),
        (net(lambda s, h: torch.relu(s.out(dropped(h, s)))), "other-network"),
        (net(lambda s, h: s.out(F.dropout(h, 1 - s.keep_prob, not s.training))), "phases-swapped"),
        (lambda i, n, o, k: nn.Sequential(nn.Linear(i, n), nn.Linear(n, o)), "no-net"),
    ],
    "mc_average": [
        (sampled(lambda y, z, n: (y.mean(), y.std())), "standard-deviation"),
        (sampled(lambda y, z, n: (y.mean(), y.std() / n)), "not-the-root-of-n"),
        (sampled(lambda y, z, n: (y.mean(), y.var() / n)), "not-the-root-of-n"),
        (sampled(lambda y, z, n: (y.mean(), y.std() / np.sqrt(n))), "ddof"),
        (sampled(lambda y, z, n: (y.mean(), y.std(ddof=1) / np.sqrt(n - 1))), "n-1-twice"),
        (sampled(lambda y, z, n: (y.mean(), 1.96 * pair(y)[1])), "interval"),
        (sampled(lambda y, z, n: (expit(z.mean()), pair(y)[1])), "averaged-before-activation"),
        (sampled(lambda y, z, n: y.mean()), "how-many"),
        (sampled(pair, rows=lambda n: 1), "one-mask"),
        (sampled(pair, keep=lambda k: 1 - k), "drop-for-keep"),
        (sampled(pair, draw=lambda s, k, rng: (rng.random(s) < k) / k), "scaled-masks"),
        (sampled(pair, keep=lambda k: 0.5), "always-half"),
        (sampled(pair, y=np.tanh), "other-activation"),
        (sampled(pair, rows=lambda n: 1000), "ignores-n_samples"),
        (sampled(lambda y, z, n: pair(np.repeat(y, 2)), rows=lambda n: n // 2), ".*samples"),
        (sampled(pair, draw=lambda s, k, rng: opposite(s, rng) < k), "too-even"),
        (sampled(pair, draw=lambda s, k, rng: rng.random((s[0], 1)) < k + np.zeros(s)),
         "shared-by-units"),
        (twice, "other-samples"),
        (sampled(lambda y, z, n: pair(y)[::-1]), "swapped"),
        (sampled(lambda y, z, n: (np.median(y), pair(y)[1])), "median"),
        (sampled(lambda y, z, n: (y.mean(), z.std(ddof=1) / n**0.5)), "of-other-numbers"),
        (sampled(lambda y, z, n: (y.mean(), (y.mean() * (1 - y.mean()) / n) ** 0.5)), "bernoulli"),
        (lambda h, w, b, k, n, rng: (loop_mean(h, w, b, k), sampled(pair)(h, w, b, k, n, rng)[1]),
         "exact-mean"),
        (lambda h, w, b, k, n, rng: (expit(k * h @ w - b), sampled(pair)(h, w, b, k, n, rng)[1]),
         "averaged-before-activation"),
        (sampled(pair, draw=lambda s, k, rng: rng.normal(k, 0.5, s)), "average-off"),
        (unguarded(lambda: (0.5, math.nan)), "one-sample"),
        (unguarded(lambda: 1 / 0), "one-sample"),
        (unguarded(lambda: None, least=0), "one-sample"),
        (lambda h, w, b, k, n, rng: sampled(pair)(h, w, b, k, n, np.random.default_rng(0)),
         "shared-by-calls"),
    ],
}  # fmt: skip
