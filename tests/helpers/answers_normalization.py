"""Answers on normalization: right ones in other styles, wrong ones that are in no table."""

import itertools
import math
import os
import statistics

import numpy as np
import torch
import torch.nn.functional as F
from scipy import stats
from scipy.special import expit
from torch import nn

from lib.checks.normalization import INVERTED
from lib.checks.traits import FACTORS
from lib.masks import all_masks, bernoulli_mask, mask_probabilities

os.environ.setdefault("KERAS_BACKEND", "torch")


def mask(shape, k, rng):
    return (rng.random(shape) < k) / k


def phases(train, test=lambda a, k: a):
    """A dropout2 from what to do with activations, given a right mask of 0 and 1."""

    def dropout2(act, keep_prob, phase, rng):
        if phase not in ("train", "test"):
            raise ValueError(phase)
        kept = (rng.random(act.shape) < keep_prob).astype(int)
        return train(act, kept, keep_prob) if phase == "train" else test(act, keep_prob)

    return dropout2


def in_torch(act, keep_prob, phase, rng):
    if phase not in {"train", "test"}:
        raise ValueError
    torch.manual_seed(int(rng.integers(2**31)))
    return F.dropout(torch.tensor(act), 1 - keep_prob, phase == "train").numpy()


def recursive_fold(layers, keep_probs, f=1.0):
    (w, b), *rest = layers
    return [(w * f, b)] + (recursive_fold(rest, keep_probs[1:], keep_probs[0]) if rest else [])


def recursive_mean(h, w, b, k):
    if len(h) == 0:
        return expit(-b)
    with_first = recursive_mean(h[1:], w[1:], b - h[0] * w[0], k)
    return k * with_first + (1 - k) * recursive_mean(h[1:], w[1:], b, k)


def net(forward):
    """A FunctionalNet with this forward pass from the hidden units on."""

    class FunctionalNet(nn.Module):
        def __init__(self, n_inputs, n_units, n_outputs, keep_prob):
            super().__init__()
            self.keep_prob = keep_prob
            self.hidden, self.out = nn.Linear(n_inputs, n_units), nn.Linear(n_units, n_outputs)

        def forward(self, x):
            return forward(self, torch.relu(self.hidden(x)))

    return FunctionalNet


def dropped(h, s):
    return F.dropout(h, 1 - s.keep_prob, s.training)


def keras_net(behind, activation="relu"):
    """A keras_net from the layers behind a hidden one; keras is imported where it is called."""

    def build(shape, n_units, keep_probs):
        from keras import Input, Sequential, layers

        hidden = [Sequential([layers.Dense(n, activation=activation), *behind(layers, keep_prob)])
                  for n, keep_prob in zip(n_units, keep_probs, strict=True)]  # fmt: skip
        first = Input(shape), layers.Conv2D(32, 3, activation="relu"), layers.Flatten()
        return Sequential([*first, *hidden, layers.Dense(10, "softmax")])

    return build


def functional_keras(shape, n_units, keep_probs):
    from keras import Input, Model, layers

    inputs = Input(shape)
    h = layers.Flatten()(layers.ReLU()(layers.Conv2D(32, (3, 3))(inputs)))
    for n, keep_prob in zip(n_units, keep_probs, strict=True):
        h = layers.Dropout(rate=1 - keep_prob)(layers.ReLU()(layers.Dense(n)(h)))
    return Model(inputs, layers.Softmax()(layers.Dense(10)(h)))


class AlwaysOn(nn.Dropout):
    def forward(self, x):
        return F.dropout(x, self.p)


def script(validate=lambda net, x: 0, predict=lambda net, x: net.eval()(x).softmax(1),
           drop=nn.Dropout):  # fmt: skip
    """A repaired_script from what it does after an epoch, and at the end."""

    def run(x_train, y_train, x_test, keep_prob, epochs):
        one = nn.Sequential(nn.Linear(x_train.shape[1], 100), nn.ReLU(), nn.Dropout(1 - keep_prob))
        two = nn.Sequential(nn.Linear(100, 100), nn.ReLU(), drop(1 - keep_prob))
        net = nn.Sequential(one, two, nn.Linear(100, 10))
        optimizer = torch.optim.Adam(net.parameters())
        for _ in range(epochs):
            for i in range(0, len(x_train), 16):
                loss = F.cross_entropy(net(x_train[i : i + 16]), y_train[i : i + 16])
                optimizer.zero_grad()
                loss.backward()
                optimizer.step()
            validate(net, x_train)
        return net, predict(net, x_test)

    return run


def sampled(combine, draw=bernoulli_mask):
    """mc_average from the outputs of sampled masks."""

    def mc_average(h, w, b, k, n, rng):
        if n < 2:
            raise ValueError(n)
        return combine(expit(draw((n, len(h)), k, rng) * h @ w - b))

    return mc_average


def pair(y):
    return y.mean(), y.std(ddof=1) / len(y) ** 0.5


def one_by_one(h, w, b, k, n, rng):
    z = [sum(hi * wi for hi, wi in zip(h, w, strict=True) if rng.random() < k) for _ in range(n)]
    y = [1 / (1 + math.exp(b - each)) for each in z]
    return [statistics.fmean(y), statistics.stdev(y) / math.sqrt(n)]  # its error is a ValueError


# fmt: off
RIGHT = {
    "keras_net": [
        functional_keras,
        keras_net(lambda of, k: [of.Dropout(1 - k), of.ReLU()], activation=None),
        keras_net(lambda of, k: [of.Dropout(1 - k, seed=3)]),
    ],
    "repaired_script": [
        script(validate=lambda net, x: net.eval()(x) + net.train()(x)),
        script(predict=lambda net, x: F.softmax(net.eval()(x), dim=1).detach().numpy()),
        script(predict=lambda net, x: net.train(False)(x).softmax(-1)),
    ],
    "inverted_mask": [
        lambda shape, k, rng: np.vectorize(lambda u: (u < k) / k)(rng.random(shape)),
        lambda shape, k, rng: np.stack([mask(shape[1:], k, rng) for _ in range(shape[0])]),
        lambda shape, k, rng: rng.choice([0, 1 / k], size=shape, p=[1 - k, k]).astype(np.float32),
    ],
    "dropout2": [
        phases(lambda a, m, k: (a * m / k).astype(np.float32)), in_torch,
        phases(lambda a, m, k: np.where(m, a / k, 0), lambda a, k: a.copy()),
    ],
    "fold_into_weights": [
        recursive_fold,
        lambda layers, k: [layers[0]] + [(w * f, b) for (w, b), f in zip(layers[1:], k)],  # noqa: B905
        lambda layers, k: tuple([w @ np.diag([f] * w.shape[1]), np.float32(b)]
                                for f, (w, b) in zip([1, *k], layers, strict=True)),
    ],
    "exact_mean": [
        recursive_mean,
        lambda h, w, b, k: sum(math.prod(k if on else 1 - k for on in m) * expit(m @ (h * w) - b)
                               for m in map(np.array, itertools.product((0, 1), repeat=len(h)))),
        lambda h, w, b, k: torch.tensor(mask_probabilities(all_masks(len(h)), k)) @ torch.sigmoid(
            torch.tensor(all_masks(len(h)) * h @ w - b)),
    ],
    "functional_net": [
        net(lambda s, h: F.linear(dropped(h, s), s.out.weight, s.out.bias)),
        net(lambda s, h: s.out(torch.relu(dropped(h, s)))),
        net(lambda s, h: s.out(h * (torch.rand_like(h) < s.keep_prob) / s.keep_prob
                               if s.training else h)),
    ],
    "mc_average": [
        sampled(lambda y: (y.mean(), stats.sem(y))), one_by_one,
        sampled(lambda y: np.array(pair(y.astype(np.float32)))),
        sampled(lambda y: (torch.tensor(y).mean(), torch.tensor(y).std() / len(y) ** 0.5)),
    ],
}

UNLISTED = {
    "keras_net": [
        (keras_net(lambda of, k: [of.GaussianDropout(1 - k)]), "not-zero"),
        (keras_net(lambda of, k: [of.Dropout(1 - k, noise_shape=(1, None))]), "shared-by-examples"),
        (keras_net(lambda of, k: [of.Dropout(k)]), "drop-for-keep"),
    ],
    "repaired_script": [
        (script(drop=AlwaysOn), "function-in-eval"),
        (script(predict=lambda net, x: torch.no_grad()(net)(x).softmax(1)), "no-eval"),
        (script(validate=lambda net, x: net.eval()), "no-mask"),
    ],
    "inverted_mask": [
        (lambda shape, k, rng: (m := rng.random(shape) < k) / m.mean(), "another-factor"),
        (lambda s, k, rng: (np.argsort(rng.random(s)) < round(k * s[-1])) / k, "fixed-total-.*"),
        (lambda s, k, rng: np.repeat(mask((*s[:-1], s[-1] // 2), k, rng), 2, -1), "alike-units"),
    ],
    "dropout2": [
        *((phases(lambda a, m, k, f=FACTORS[train]: f(k) * a * m,
                  lambda a, k, f=FACTORS[test]: f(k) * a), name)
          for (train, test), (name, _) in INVERTED.items() if train),
        (phases(lambda a, m, k: np.where(m, a / k, a.mean())), "not-zero"),
        (phases(lambda a, m, k: (a > 0) * a * m / k, lambda a, k: (a > 0) * a), "other-function"),
    ],
    "fold_into_weights": [
        (lambda layers, k: [w for w, _ in layers], "no-pairs"),
        (lambda layers, k: layers, "ignores-keep_probs"),
    ],
    "exact_mean": [
        (lambda h, w, b, k: expit(bernoulli_mask((50, len(h)), k, np.random.default_rng()) * h @ w
                                  - b).mean(), "not-repeatable"),
    ],
    "functional_net": [
        (net(lambda s, h: s.out(F.alpha_dropout(h, 1 - s.keep_prob, s.training))), "not-zero"),
        (net(lambda s, h: s.out(dropped(h.detach(), s))), "no-gradient"),
        (net(lambda s, h: dropped(s.out(h), s)), "output-dropped"),
    ],
    "mc_average": [
        (sampled(pair, lambda s, k, rng: rng.permuted(np.arange(s[0])[:, None] + np.zeros(s),
                                                    axis=0) < k * s[0]), "too-even"),
        (sampled(lambda y: pair(np.repeat(y[: len(y) // 2], 2))), "shared-by-samples|average-off"),
        (sampled(lambda y: (y.mean(), y.std(ddof=0) / len(y) ** 0.5)), "ddof"),
    ],
}
# fmt: on
