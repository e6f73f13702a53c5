"""Answers on normalization: right ones in other styles, wrong ones that are in no table."""

import itertools
import math
import os
from functools import partial

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.special import expit
from torch import nn

from lib.checks import normalization
from lib.masks import all_masks, bernoulli_mask, mask_probabilities


def loop_mask(shape, k, rng):
    entries = [1 / k if rng.random() < k else 0 for _ in range(math.prod(shape))]
    return np.array(entries).reshape(shape)


def mask(shape, k, rng):
    return (rng.random(shape) < k) / k


def by_row(shape, k, rng):
    out = [mask(shape[1:], k, rng) for _ in range(shape[0])]
    return np.stack(out)


def never_empty(shape, k, rng):
    out = mask(shape, k, rng)
    out[~out.any(-1), 0] = 1 / k
    return out


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


os.environ.setdefault("KERAS_BACKEND", "torch")


def keras_net(behind=None, start=(), end=(), activation="relu"):
    """A keras_net from what stands behind a hidden layer; keras is imported where it is called."""

    def build(shape, n_units, keep_probs):
        from keras import Input, Sequential, layers

        model = Sequential([Input(shape), layers.Conv2D(32, 3, activation="relu")])
        model.add(layers.Flatten())
        for each in start:
            model.add(each(layers))
        for n, keep_prob in zip(n_units, keep_probs, strict=True):
            model.add(layers.Dense(n, activation=activation))
            for each in behind(layers, keep_prob) if behind else [layers.Dropout(1 - keep_prob)]:
                model.add(each)
        model.add(layers.Dense(10, activation="softmax"))
        for each in end:
            model.add(each(layers))
        return model

    return build


def functional_keras(shape, n_units, keep_probs):
    from keras import Input, Model, layers

    inputs = Input(shape)
    h = layers.Conv2D(32, (3, 3))(inputs)
    h = layers.Flatten()(layers.ReLU()(h))
    for n, keep_prob in zip(n_units, keep_probs, strict=True):
        h = layers.Dropout(rate=1 - keep_prob)(layers.ReLU()(layers.Dense(n)(h)))
    return Model(inputs, layers.Softmax()(layers.Dense(10)(h)))


class ScriptNet(nn.Module):
    def __init__(self, n_inputs, keep_prob):
        super().__init__()
        self.hidden = nn.Sequential(nn.Linear(n_inputs, 100), nn.ReLU(), nn.Dropout(1 - keep_prob))
        self.middle = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), nn.Dropout(1 - keep_prob))
        self.out = nn.Linear(100, 10)

    def forward(self, x):
        return self.out(self.middle(self.hidden(x)))


class ScaledNet(ScriptNet):
    def forward(self, x):
        h = self.middle(self.hidden(x))
        return self.out(h if self.training else h / 2)


def script(validate=lambda net, x: 0, before=lambda net: 0, predict=None, make=ScriptNet):
    """A repaired_script from what it does around its steps of training."""

    def run(x_train, y_train, x_test, keep_prob, epochs):
        net = make(x_train.shape[1], keep_prob)
        optimizer = torch.optim.Adam(net.parameters())
        before(net)
        for _ in range(epochs):
            for i in range(0, len(x_train), 16):
                loss = F.cross_entropy(net(x_train[i : i + 16]), y_train[i : i + 16])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            validate(net, x_train)
        return net, predict(net, x_test) if predict else net.eval()(x_test).softmax(1)

    return run


def validated(again):
    def validate(net, x):
        net.eval()
        net(x)
        net.train(again)

    return validate


def wrong_script(**settings):
    return partial(normalization.repaired_script.right, **settings)


RIGHT = {
    "keras_net": [
        keras_net(),
        functional_keras,
        keras_net(lambda layers, k: [layers.Dropout(1 - k), layers.ReLU()], activation=None),
        keras_net(lambda of, k: [of.ReLU(), of.Dropout(1 - k, seed=3)], activation=None),
    ],
    "repaired_script": [
        script(),
        script(validated(again=True)),
        script(predict=lambda net, x: F.softmax(net.eval()(x), dim=1).detach().numpy()),
        script(before=ScriptNet.train, predict=lambda net, x: net.train(False)(x).softmax(-1)),
    ],
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
    "keras_net": [
        (keras_net(lambda layers, k: [layers.Dropout(k)]), "drop-for-keep"),
        (keras_net(lambda layers, k: [layers.Dropout(0.5)]), "always-half"),
        (keras_net(lambda layers, k: []), "no-mask"),
        (lambda s, n, k: keras_net()(s, n, k[::-1]), "reversed"),
        (keras_net(end=[lambda layers: layers.Dropout(0.5)]), "output-dropped"),
        (keras_net(start=[lambda layers: layers.Dropout(0.5)]), "inputs-dropped"),
        (keras_net(activation=None), "other-network"),
        (keras_net(activation="sigmoid"), "other-network"),
        (keras_net(start=[lambda layers: layers.Dense(20)]), "other-layers"),
        (keras_net(lambda layers, k: [layers.GaussianDropout(1 - k)]), "not-zero"),
        (keras_net(lambda layers, k: [layers.Dropout(1 - k), layers.Dropout(1 - k)]), "two-masks"),
        (keras_net(lambda layers, k: [layers.Dropout(1 - k), layers.Rescaling(k)]),
         "other-network"),
        (keras_net(lambda layers, k: [layers.Dropout(1 - k, noise_shape=(1, None))]),
         "shared-by-examples"),
        (lambda s, n, k: [keras_net()(s, n, k)], "no-net"),
        (lambda s, n, k: keras_net()(s, n, [0.8, 0.3, 0.5][: len(k)]), "share"),
    ],
    "repaired_script": [
        (wrong_script(rate=lambda p: p), "drop-for-keep"),
        (wrong_script(flag=lambda training: True), "function-in-eval"),
        (wrong_script(mode=True), "no-eval"),
        (wrong_script(rate=lambda p: p, flag=lambda training: True, mode=True), "function-in-.*"),
        (wrong_script(flag=lambda training: False), "no-mask"),
        (wrong_script(rate=lambda p: 0.5), "always-half"),
        (script(before=lambda net: net.eval()), "no-mask"),
        (script(validated(again=False)), "train-lost"),
        (script(predict=lambda net, x: net.eval()(x)), "other-probabilities"),
        (script(make=ScaledNet), "scaled-at-prediction"),
        (script(predict=lambda net, x: torch.no_grad()(net)(x).softmax(1)), "no-eval"),
        (script(predict=lambda net, x: net.eval()(x).softmax(0)), "other-probabilities"),
        (lambda *given: script()(*given)[0], "how-many"),
        (lambda *given: script()(*given)[::-1], "no-net"),
    ],
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
        (never_empty, "never-empty"),
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
        (sampled(pair, draw=lambda s, k, rng: rng.random((1, s[1])) < k + np.zeros(s)), "one-mask"),
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
