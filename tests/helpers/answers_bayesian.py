"""Answers to the exercises on the Bayesian view: right in other styles, wrong ones unlisted."""

import copy
import math
import statistics
from contextlib import contextmanager, nullcontext

import numpy as np
import torch
from scipy import stats
from scipy.special import entr, logsumexp, softmax
from torch import nn

from lib.inference import mc_samples, sampling


def loop_posterior(likelihood, prior):
    log_total = -math.inf
    for at in np.ndindex(likelihood.shape):
        log_total = np.logaddexp(log_total, likelihood[at] + prior[at])
    return np.vectorize(lambda a, b: math.exp(a + b - log_total))(likelihood, prior)


def loop_naive(likelihood, prior):
    """As one would write it in C."""
    weights = [math.exp(a + b) for a, b in zip(likelihood.flat, prior.flat, strict=True)]
    return np.array([w / sum(weights) for w in weights]).reshape(likelihood.shape)


def log_densities(samples, targets, tau):
    return -tau / 2 * (targets - samples) ** 2 + 0.5 * math.log(tau) - 0.5 * math.log(2 * math.pi)


def by_divergence(samples):
    mean = samples.mean(axis=0)
    information = np.mean([stats.entropy(p, mean, axis=-1) for p in samples], axis=0)
    expected = stats.entropy(samples, axis=-1).mean(axis=0)
    return [expected + information, expected, information]


def split(entropy):
    def decompose(samples):
        h, e = entropy(samples.mean(axis=0)), entropy(samples).mean(axis=0)
        return h, e, h - e

    return decompose


def loop_reliability(probabilities, labels, n_bins):
    table = [[] for _ in range(n_bins)]
    for p, y in zip(probabilities.tolist(), labels.tolist(), strict=True):
        sure = max(p)
        table[min(int(sure * n_bins), n_bins - 1)].append((sure, p.index(sure) == y))
    count = np.array([len(rows) for rows in table])
    conf, acc = (
        np.array([sum(row[i] for row in rows) / len(rows) if rows else 0 for rows in table])
        for i in (0, 1)
    )
    return count, conf, acc, sum(count / len(labels) * abs(conf - acc))


@contextmanager
def kept_modes(model):
    before = {module: module.training for module in model.modules()}
    yield
    for module, training in before.items():
        module.training = training


def switch(model, rate=None):
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()
            module.p = rate or module.p


def predictor(
    average=lambda samples: samples.mean(0), to=lambda z: z.softmax(-1), on=switch, count=int,
    before=lambda: None, grad=torch.no_grad, keep=kept_modes,
):  # fmt: skip
    """A right mc_predict but for one thing."""

    def mc_predict(model, x, n_samples):
        with grad(), keep(model):
            before()
            on(model)
            return average(torch.stack([to(model(x)) for _ in range(count(n_samples))]))

    return mc_predict


def on_a_copy(model, x, n_samples, on=switch):
    twin = copy.deepcopy(model)
    on(twin)
    return sum(twin(x).softmax(dim=1).detach() for _ in range(n_samples)) / n_samples


def in_one_batch(model, x, n_samples):
    with torch.inference_mode(), kept_modes(model):
        switch(model)
        return model(x.repeat(n_samples, 1)).view(n_samples, len(x), -1).softmax(-1).mean(0)


def with_vmap(model, x, n_samples, randomness="different"):
    with torch.no_grad(), sampling(model):
        run = torch.vmap(lambda _: model(x).softmax(-1), randomness=randomness)
        return run(torch.arange(n_samples)).mean(0)


def own_masks(model, x, n_samples, draw=torch.rand_like):
    """Masks by hooks, with all in eval."""

    def hook(module, inputs, output):
        return output * (draw(output) > module.p) / (1 - module.p)

    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Dropout)]
    try:
        return predictor(on=lambda m: m.eval())(model, x, n_samples)
    finally:
        for each in hooks:
            each.remove()


def opposite_pairs(model, x, n_samples):
    """Every second sample keeps what the one before it dropped."""
    last = {}

    def draw(h):
        if h.shape in last:
            return 1 - last.pop(h.shape)
        return last.setdefault(h.shape, torch.rand(h.shape))

    return own_masks(model, x, n_samples, draw)


def repaired(draw=lambda h, k: nn.functional.dropout(h, 1 - k), before=lambda net: None):
    """A right mc_repaired but for one thing."""

    def mc_repaired(net, x, keep_prob, n_samples):
        with torch.no_grad():
            before(net)
            h = net.hidden(x)
            samples = [net.output(draw(h, keep_prob)) for _ in range(n_samples)]
            return torch.stack(samples).softmax(-1).mean(0)

    return mc_repaired


def masked(draw):
    return repaired(lambda h, k: h * draw(h, k))


RIGHT = {
    "grid_posterior": [
        loop_posterior,
        lambda a, b: torch.softmax(torch.tensor(a + b).flatten(), 0).view(a.shape).numpy(),
        lambda a, b: softmax(np.float32(a) + np.float32(b)),
        lambda a, b: np.exp(np.log(softmax(b)) + a - logsumexp(a + b - logsumexp(b))),
    ],
    "predictive_log_likelihood": [
        lambda s, y, tau: logsumexp(stats.norm.logpdf(y, s, tau**-0.5), axis=0) - math.log(len(s)),
        lambda s, y, tau: np.logaddexp.reduce(log_densities(s, y, tau)) - np.log(s.shape[0]),
        lambda s, y, tau: logsumexp(np.float32(log_densities(s, y, tau)), axis=0, b=1 / len(s)),
    ],
    "decompose": [
        by_divergence,
        split(lambda p: -(p * np.log(p + 1e-12)).sum(axis=-1)),
        split(lambda p: stats.entropy(p, axis=-1)),
        lambda s: tuple(np.float32(part) for part in split(lambda p: entr(p).sum(-1))(s)),
    ],
    "total_variance": [
        lambda s, tau: np.square(s[:, None] - s).mean(axis=(0, 1)) / 2 + tau**-1,
        lambda s, tau: np.float32(s.var(axis=0) + 1 / tau),
        lambda s, tau: torch.tensor(s).var(0, correction=0).add(1 / tau),
        lambda s, tau: np.array([statistics.pvariance(each) for each in s.T.tolist()]) + tau**-1,
    ],
    "reliability": [
        loop_reliability,
        lambda p, y, n: tuple(np.float32(part) for part in loop_reliability(p, y, n)),
        lambda p, y, n: [torch.as_tensor(part) for part in loop_reliability(p, y, n)],
    ],
    "mc_predict": [
        on_a_copy,
        in_one_batch,
        lambda m, x, n: mc_samples(m, x, n).softmax(dim=-1).mean(dim=0),
        with_vmap,
        own_masks,
        lambda m, x, n: torch.cat([predictor()(m, row[None], n) for row in x]),
    ],
    "mc_repaired": [
        repaired(),
        repaired(lambda h, k: nn.Dropout(1 - k)(h), before=lambda net: net.eval()),
        masked(lambda h, k: torch.bernoulli(torch.full_like(h, k)) / k),
    ],
}

UNLISTED = {
    "grid_posterior": [
        (loop_naive, "naive"),
        (lambda a, b: softmax(a + b).round(3), "rounded-to-3"),
        (lambda a, b: softmax(softmax(a + b)), "otherwise"),
    ],
    "predictive_log_likelihood": [
        (lambda s, y, tau: np.logaddexp.reduce(log_densities(s, y, 3.0)), "ignores-tau"),
        (lambda s, y, tau: stats.t.logpdf(y, 3, s.mean(0), tau**-0.5), "otherwise"),
    ],
    "decompose": [
        (split(lambda p: 0.5 * entr(p).sum(-1)), "half"),
        (lambda s: by_divergence(np.median(s, axis=0, keepdims=True)), "otherwise"),
    ],
    "total_variance": [
        (lambda s, tau: np.float16(s.var(axis=0) + 1 / tau), "single-precision"),
        (lambda s, tau: np.random.default_rng().normal(s, tau**-0.5).var(axis=0), "not-repeatable"),
    ],
    "reliability": [(lambda p, y, n: loop_reliability(p, np.zeros_like(y), n), "ignores-labels")],
    "mc_predict": [
        (predictor(on=lambda m: m.train()), "batch-statistics"),
        (lambda *given: on_a_copy(*given, on=lambda m: m.train()), "batch-statistics"),
        (predictor(on=lambda m: m.eval()), "dropout-off"),
        (predictor(on=lambda m: m.eval()[-2].train()), "dropout-off"),
        (predictor(on=lambda m: switch(m, 0.5)), "changes-model"),
        (predictor(lambda s: s), "shape"),
        (predictor(lambda s: s.mean(0).softmax(-1), lambda z: z), "logits-averaged"),
        (predictor(lambda s: s.mean(0).exp(), lambda z: z.log_softmax(-1)), "logits-averaged"),
        (predictor(to=lambda z: z), "logits"),
        (predictor(lambda s: s.mean(0).log()), "logits"),
        (predictor(lambda s: s.sum(0)), "average"),
        (predictor(lambda s: s.median(0).values), "average"),
        (predictor(lambda s: (s == s.amax(-1, keepdim=True)).float().mean(0)), "votes"),
        (predictor(to=lambda z: z.softmax(0)), "softmax-over-examples"),
        (predictor(to=lambda z: z.sigmoid()), "no-probabilities"),
        (predictor(before=lambda: torch.manual_seed(0)), "seed-inside"),
        (lambda *given: with_vmap(*given, randomness="same"), "same-mask"),
        (predictor(count=lambda n: n + 1), "not-one-sample"),
        (predictor(count=lambda n: min(n, 10)), "fewer-samples"),
        (predictor(count=lambda n: 40 * n if n == 40 else n), "more-samples"),
        (opposite_pairs, "more-samples"),
        (lambda *given: own_masks(*given, lambda h: torch.rand(h.shape[1:])), "shared-by-examples"),
        (predictor(grad=torch.enable_grad), "gradient-kept"),
        (
            predictor(grad=nullcontext, before=lambda: torch.set_grad_enabled(False)),
            "gradients-off",
        ),
        (predictor(keep=nullcontext), "modes-not-restored"),
        (lambda *given: predictor()(*given).numpy(), "no-tensor"),
    ],
    "mc_repaired": [
        (repaired(lambda h, k: nn.functional.dropout(h, k)), "drop-for-keep"),
        (repaired(lambda h, k: nn.functional.dropout(h)), "no-scale"),
        (masked(lambda h, k: (torch.rand_like(h) < k) + 0.0), "no-scale"),
        (masked(lambda h, k: (torch.rand(len(h), 1) < k) / k), "shared-by-units"),
        (masked(lambda h, k: torch.randn_like(h) * ((1 - k) / k) ** 0.5 + 1), "not-one-sample"),
    ],
}  # fmt: skip
