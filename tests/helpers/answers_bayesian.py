"""Answers to the exercises on the Bayesian view: right in other styles, wrong ones unlisted."""

import copy
import math
import statistics
from contextlib import contextmanager

import numpy as np
import torch
from scipy import stats
from scipy.special import entr, logsumexp, softmax
from torch import nn

from lib.inference import mc_samples, sampling


def shares(values):
    return values / values.sum()


def loop_posterior(likelihood, prior):
    pairs = list(zip(likelihood.ravel().tolist(), prior.ravel().tolist(), strict=True))
    best = max(a + b for a, b in pairs)
    weights = [math.exp(a + b - best) for a, b in pairs]
    total = math.fsum(weights)
    return np.array([w / total for w in weights]).reshape(likelihood.shape)


def one_by_one_posterior(likelihood, prior):
    log_total = -math.inf
    for at in np.ndindex(likelihood.shape):
        log_total = np.logaddexp(log_total, likelihood[at] + prior[at])
    return np.vectorize(lambda a, b: math.exp(a + b - log_total))(likelihood, prior)


def loop_likelihood(samples, targets, tau):
    result = []
    for column, y in zip(samples.T.tolist(), targets.tolist(), strict=True):
        logs = [stats.norm.logpdf(y, loc=sample, scale=1 / math.sqrt(tau)) for sample in column]
        best = max(logs)
        result.append(best + math.log(sum(math.exp(v - best) for v in logs) / len(logs)))
    return np.array(result)


def log_densities(samples, targets, tau):
    return -tau / 2 * (targets - samples) ** 2 + 0.5 * math.log(tau) - 0.5 * math.log(2 * math.pi)


def torch_likelihood(samples, targets, tau):
    components = torch.distributions.Normal(torch.tensor(samples.T), tau**-0.5)
    weights = torch.distributions.Categorical(torch.ones(len(samples)).double())
    mixture = torch.distributions.MixtureSameFamily(weights.expand([len(targets)]), components)
    return mixture.log_prob(torch.tensor(targets)).numpy()


def loop_split(samples):
    rows = []
    for i in range(samples.shape[1]):
        each = [sum(-p * math.log(p) for p in sample if p > 0) for sample in samples[:, i].tolist()]
        h = sum(-p * math.log(p) for p in samples[:, i].mean(axis=0).tolist() if p > 0)
        e = sum(each) / len(each)
        rows.append((h, e, h - e))
    return np.array(rows).T


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


def gal_form(samples, tau):
    mean = samples.sum(axis=0) / len(samples)
    return 1 / tau + np.einsum("ti,ti->i", samples, samples) / len(samples) - mean**2


def drawn_pairs(samples, tau):
    """Half the mean square of all differences: the same variance."""
    return np.square(samples[:, None] - samples).mean(axis=(0, 1)) / 2 + tau**-1


def welford(samples, tau):
    mean, total = np.zeros(samples.shape[1]), np.zeros(samples.shape[1])
    for t, row in enumerate(samples, 1):
        off = row - mean
        mean = mean + off / t
        total = total + off * (row - mean)
    return total / len(samples) + 1.0 / tau


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


def by_edges(probabilities, labels, n_bins):
    confidence, answer = probabilities.max(1), probabilities.argmax(1)
    edges = np.linspace(0, 1, n_bins + 1)
    count, conf, acc = np.zeros(n_bins, int), np.zeros(n_bins), np.zeros(n_bins)
    for b in range(n_bins):
        inside = (confidence >= edges[b]) & (confidence < edges[b + 1])
        if b == n_bins - 1:
            inside |= confidence == 1
        if inside.any():
            count[b] = inside.sum()
            conf[b], acc[b] = confidence[inside].mean(), (answer == labels)[inside].mean()
    return [count, conf, acc, np.average(abs(acc - conf), weights=count)]


def by_histogram(probabilities, labels, n_bins):
    sure, right = probabilities.max(-1), labels == probabilities.argmax(-1)

    def sums(weights):
        return np.histogram(sure, n_bins, range=(0, 1), weights=weights)[0]

    count, conf, acc = sums(None), sums(sure), sums(right.astype(float))
    error = np.abs(conf - acc).sum() / len(labels)
    return count, conf / np.maximum(count, 1), acc / np.maximum(count, 1), error


def torch_reliability(probabilities, labels, n_bins):
    confidence, answer = torch.tensor(probabilities).float().max(dim=1)
    which = (n_bins * confidence).long().clamp(max=n_bins - 1)
    count = torch.bincount(which, minlength=n_bins)
    sums = [torch.bincount(which, w, minlength=n_bins)
            for w in (confidence, (answer == torch.tensor(labels)).float())]  # fmt: skip
    conf, acc = (torch.nan_to_num(total / count) for total in sums)
    return count, conf, acc, (count / len(labels) * (acc - conf).abs()).sum()


@contextmanager
def kept_modes(model):
    before = {module: module.training for module in model.modules()}
    yield
    for module, training in before.items():
        module.training = training


def switch(model):
    model.eval()
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()


def passes(model, x, n_samples, to=lambda z: z.softmax(-1)):
    return torch.stack([to(model(x)) for _ in range(n_samples)])


def predictor(
    average=lambda samples: samples.mean(0),
    to=lambda z: z.softmax(-1),
    on=switch,
    restore=kept_modes,
    count=lambda n: n,
    before=lambda: None,
):
    """A right mc_predict but for one thing."""

    def mc_predict(model, x, n_samples):
        with torch.no_grad(), restore(model):
            before()
            on(model)
            return average(passes(model, x, count(n_samples), to))

    return mc_predict


def on_a_copy(model, x, n_samples):
    twin = copy.deepcopy(model)
    switch(twin)
    total = torch.zeros(len(x), 4)
    for _ in range(n_samples):
        total += torch.exp(torch.log_softmax(twin(x), dim=1)).detach() / n_samples
    return total


def in_one_batch(model, x, n_samples):
    with torch.inference_mode(), kept_modes(model):
        switch(model)
        logits = model(x.repeat(n_samples, 1)).view(n_samples, len(x), -1)
        return logits.softmax(dim=-1).mean(dim=0)


def with_vmap(model, x, n_samples, randomness="different"):
    with torch.no_grad(), sampling(model):
        run = torch.vmap(lambda _: model(x).softmax(-1), randomness=randomness)
        return run(torch.arange(n_samples)).mean(0)


def train_then_norms_off(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def own_masks(model, x, n_samples, keep=lambda rate: 1 - rate):
    """Masks by hooks, with all in eval."""

    def hook(module, inputs, output):
        return output * (torch.rand(output.shape) < keep(module.p)) / (1 - module.p)

    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Dropout)]
    try:
        return predictor(on=lambda m: m.eval())(model, x, n_samples)
    finally:
        for each in hooks:
            each.remove()


def one_example_at_a_time(model, x, n_samples):
    return torch.cat([predictor()(model, row[None], n_samples) for row in x])


def repaired(net, x, keep_prob, n_samples, *, rate=lambda k: 1 - k, each=lambda z: z.softmax(-1),
             out=lambda p: p, before=lambda net: None, in_loop=lambda: None,
             after=lambda net: None):  # fmt: skip
    """A right mc_repaired but for one thing, or two."""
    with torch.no_grad():
        before(net)
        total = torch.zeros(len(x), 4)
        for _ in range(n_samples):
            in_loop()
            h = nn.functional.dropout(net.hidden(x), rate(keep_prob))
            total += each(net.output(h))
        after(net)
        return out(total / n_samples)


def with_mask(draw):
    def by_hand(net, x, keep_prob, n_samples):
        with torch.no_grad():
            h = net.hidden(x)
            samples = [net.output(h * draw(h, keep_prob)) for _ in range(n_samples)]
            return torch.stack(samples).softmax(-1).mean(0)

    return by_hand


def but(**settings):
    return lambda *arguments: repaired(*arguments, **settings)


def repaired_by_hand(net, x, keep_prob, n_samples):
    hidden = net.hidden(x).detach()
    samples = []
    for _ in range(n_samples):
        mask = torch.bernoulli(torch.full_like(hidden, keep_prob))
        samples.append(net.output(hidden * mask / keep_prob).detach().softmax(dim=1))
    return sum(samples) / n_samples


def repaired_together(net, x, keep_prob, n_samples):
    with torch.no_grad():
        h = net.hidden(x).expand(n_samples, -1, -1)
        return net.output(nn.Dropout(1 - keep_prob)(h)).softmax(-1).mean(0)


RIGHT = {
    "grid_posterior": [
        loop_posterior,
        one_by_one_posterior,
        lambda a, b: np.exp(a + b - logsumexp(a + b)),
        lambda a, b: torch.softmax(torch.tensor(a + b).flatten(), 0).view(a.shape).numpy(),
        lambda a, b: softmax(np.float32(a) + np.float32(b)),
        lambda a, b: np.exp(np.log(softmax(b)) + a - logsumexp(a + b - logsumexp(b))),
    ],
    "predictive_log_likelihood": [
        loop_likelihood,
        torch_likelihood,
        lambda s, y, tau: logsumexp(stats.norm.logpdf(y, s, tau**-0.5), axis=0) - math.log(len(s)),
        lambda s, y, tau: logsumexp(log_densities(s, y, tau), axis=0, b=1 / len(s)),
        lambda s, y, tau: np.logaddexp.reduce(log_densities(s, y, tau)) - np.log(s.shape[0]),
        lambda s, y, tau: logsumexp(log_densities(np.float32(s), np.float32(y), tau), axis=0)
        - np.log(len(s)),
    ],
    "decompose": [
        loop_split,
        by_divergence,
        split(lambda p: -(p * np.log(p + 1e-12)).sum(axis=-1)),
        split(lambda p: -(p * np.log(np.where(p > 0, p, 1))).sum(axis=-1)),
        split(lambda p: stats.entropy(p, axis=-1)),
        lambda s: tuple(np.float32(part) for part in split(lambda p: entr(p).sum(-1))(s)),
        lambda s: torch.stack(
            [torch.tensor(part) for part in split(lambda p: np.einsum("...c->...", entr(p)))(s)]
        ).numpy(),
    ],
    "total_variance": [
        gal_form,
        drawn_pairs,
        welford,
        lambda s, tau: np.array([np.var(column) + 1 / tau for column in s.T]),
        lambda s, tau: np.float32(s.var(axis=0) + 1 / tau),
        lambda s, tau: torch.tensor(s).var(0, correction=0).add(1 / tau),
        lambda s, tau: np.array([statistics.pvariance(each) for each in s.T.tolist()]) + tau**-1,
    ],
    "reliability": [
        loop_reliability,
        by_edges,
        by_histogram,
        torch_reliability,
        lambda p, y, n: tuple(np.float32(part) for part in loop_reliability(p, y, n)),
    ],
    "mc_predict": [
        predictor(),
        on_a_copy,
        in_one_batch,
        lambda m, x, n: mc_samples(m, x, n).softmax(dim=-1).mean(dim=0),
        with_vmap,
        own_masks,
        one_example_at_a_time,
        predictor(on=train_then_norms_off),
        predictor(lambda s: (s.sum(0) / len(s)).double()),
    ],
    "mc_repaired": [
        repaired,
        repaired_by_hand,
        repaired_together,
        but(before=lambda net: net.eval()),
        but(each=lambda z: torch.log_softmax(z, -1).exp()),
    ],
}  # fmt: skip


@contextmanager
def not_restored(model):
    yield


@contextmanager
def restored_at_once(model):
    was = model.training
    yield
    model.train(was)


@contextmanager
def left_in_eval(model):
    yield
    model.eval()


def train_on_a_copy(model, x, n_samples):
    return predictor(on=lambda m: m.train())(copy.deepcopy(model), x, n_samples)


def children_only(model):
    model.eval()
    for module in model.children():
        if isinstance(module, nn.Dropout):
            module.train()


def dropouts_without_eval(model):
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.train()


def first_dropout_only(model):
    model.eval()
    next(module for module in model.modules() if isinstance(module, nn.Dropout)).train()


def with_gradient(model, x, n_samples):
    with kept_modes(model):
        switch(model)
        return passes(model, x, n_samples).mean(0)


def gradients_off(model, x, n_samples):
    torch.set_grad_enabled(False)
    return predictor()(model, x, n_samples)


def frozen_weights(model, x, n_samples):
    for weight in model.parameters():
        weight.requires_grad_(False)
    return predictor()(model, x, n_samples)


def same_seed_each(model, x, n_samples):
    def one():
        torch.manual_seed(0)
        return model(x).softmax(-1)

    with torch.no_grad(), kept_modes(model):
        switch(model)
        return torch.stack([one() for _ in range(n_samples)]).mean(0)


def halved_rate(model):
    switch(model)
    for module in model.modules():
        if isinstance(module, nn.Dropout):
            module.p = 0.5


def one_mask_for_all(model, x, n_samples):
    """The examples share each mask."""

    def hook(module, inputs, output):
        return output * (torch.rand(output.shape[1:]) > module.p) / (1 - module.p)

    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Dropout)]
    p = predictor(on=lambda m: m.eval())(model, x, n_samples)
    for each in hooks:
        each.remove()
    return p


def statistics_put_back(model, x, n_samples):
    before = copy.deepcopy(model.state_dict())
    p = predictor(on=lambda m: m.train())(model, x, n_samples)
    model.load_state_dict(before)
    return p


def votes(samples):
    return nn.functional.one_hot(samples.argmax(-1), 4).float().mean(0)


def identity(z):
    return z


def opposite_pairs(model, x, n_samples):
    """Every second sample keeps what the one before it dropped."""
    uniform, even = {}, [True]

    def hook(module, inputs, output):
        if even[0]:
            uniform[module] = torch.rand(output.shape)
        u = uniform[module] if even[0] else 1 - uniform[module]
        return output * (u > module.p) / (1 - module.p)

    hooks = [m.register_forward_hook(hook) for m in model.modules() if isinstance(m, nn.Dropout)]
    total = 0
    with torch.no_grad(), kept_modes(model):
        model.eval()
        for t in range(n_samples):
            even[0] = t % 2 == 0
            total = total + model(x).softmax(-1) / n_samples
    for each in hooks:
        each.remove()
    return total


def on_inputs(model, x, n_samples):
    with torch.no_grad(), kept_modes(model):
        model.eval()
        rows = [model(nn.functional.dropout(x, 0.3)).softmax(-1) for _ in range(n_samples)]
        return torch.stack(rows).mean(0)


def on_outputs(model, x, n_samples):
    with torch.no_grad(), kept_modes(model):
        model.eval()
        rows = [nn.functional.dropout(model(x), 0.3).softmax(-1) for _ in range(n_samples)]
        return torch.stack(rows).mean(0)


def naive(likelihood, prior):
    return shares(np.exp(likelihood) * np.exp(prior))


def loop_naive(likelihood, prior):
    """As one would write it in C."""
    weights = [math.exp(a + b) for a, b in zip(likelihood.flat, prior.flat, strict=True)]
    return np.array([w / sum(weights) for w in weights]).reshape(likelihood.shape)


def naive_entropy(p):
    return -(p * np.log(p)).sum(axis=-1)


def in_place(samples):
    samples[samples == 0] = 1e-12
    return split(naive_entropy)(samples)


UNLISTED = {
    "grid_posterior": [
        (lambda a, b: naive(a, b).tolist(), "no-array|naive"),
        (loop_naive, "naive"),
        (lambda a, b: softmax(a + b).tolist(), "no-array|single-number"),
        (lambda a, b: softmax(a + b).ravel(), "shape"),
        (lambda a, b: (a + b).argmax(), "no-array|single-number"),
        (lambda a, b: softmax(a + b).round(3), "rounded-to-3"),
        (lambda a, b: softmax(softmax(a + b)), "otherwise"),
        (lambda a, b: shares(np.exp(a + b - max(a.max(), b.max()))), "not-finite"),
        (lambda a, b: 1 - softmax(a + b), "complement"),
        (lambda a, b: -softmax(a + b), "sign"),
    ],
    "predictive_log_likelihood": [
        (lambda s, y, tau: logsumexp(log_densities(s, y, tau).T, axis=0), "shape"),
        (lambda s, y, tau: loop_likelihood(s, y, tau).tolist(), "no-array|single-number"),
        (lambda s, y, tau: loop_likelihood(s, y, tau) + 1, "otherwise"),
        (lambda s, y, tau: loop_likelihood(s, y, 3.0), "ignores-tau"),
        (lambda s, y, tau: stats.t.logpdf(y, 3, s.mean(0), tau**-0.5), "otherwise"),
        (lambda s, y, tau: log_densities(s, y, tau), "shape"),
    ],
    "decompose": [
        (lambda s: by_divergence(s)[:2], "how-many"),
        (lambda s: by_divergence(s)[0], "how-many"),
        (lambda s: [part.tolist() for part in by_divergence(s)], "no-array|single-number"),
        (in_place, "changes-argument"),
        (split(np.vectorize(lambda p: -p @ np.array([*map(math.log, p)]), signature="(c)->()")),
         "zeros"),
        (split(lambda p: 0.5 * entr(p).sum(-1)), "half"),
        (lambda s: [part.mean() for part in by_divergence(s)], "no-array|single-number"),
        (split(lambda p: -np.log(p).mean(-1)), "otherwise"),
        (lambda s: by_divergence(np.median(s, axis=0, keepdims=True)), "otherwise|.*"),
    ],
    "total_variance": [
        (lambda s, tau: (s.var(axis=0), 1 / tau), "no-array|single-number"),
        (lambda s, tau: (s.var(axis=0) + 1 / tau).tolist(), "no-array|single-number"),
        (lambda s, tau: s.var(axis=1) + 1 / tau, "shape"),
        (lambda s, tau: 2 * (s.var(axis=0) + 1 / tau), "twice"),
        (lambda s, tau: np.float16(s.var(axis=0) + 1 / tau), "single-precision"),
        (lambda s, tau: np.random.default_rng().normal(s, tau**-0.5).var(axis=0), "not-repeatable"),
        (lambda s, tau: np.ptp(s, axis=0) + 1 / tau, "otherwise"),
    ],
    "reliability": [
        (lambda p, y, n: loop_reliability(p, y, n)[:3], "how-many"),
        (lambda p, y, n: loop_reliability(p, y, n + 1), "shape"),
        (lambda p, y, n: loop_reliability(p, y, 10), "shape"),
        (lambda p, y, n: loop_reliability(p, np.zeros_like(y), n), "ignores-labels|otherwise"),
        (lambda p, y, n: [np.bincount((q * n).astype(int))[n] for q in p.max(1)], "raises"),
    ],
    "mc_predict": [
        (predictor(on=lambda m: m.train()), "whole-model-in-training"),
        (predictor(on=lambda m: m.train(), restore=left_in_eval), "whole-model-in-training"),
        (train_on_a_copy, "batch-statistics"),
        (statistics_put_back, "batch-statistics"),
        (predictor(on=lambda m: m.eval()), "dropout-off"),
        (predictor(on=children_only), "dropout-(partly-)?off"),
        (predictor(on=first_dropout_only), "dropout-partly-off"),
        (predictor(on=dropouts_without_eval), "batch-statistics"),
        (lambda m, x, n: m(x).softmax(-1).detach(), "dropout-off"),
        (predictor(lambda s: s.mean(0).softmax(-1), identity), "logits-averaged"),
        (
            predictor(lambda s: s.mean(0).softmax(-1), lambda z: z.log_softmax(-1)),
            "logits-averaged",
        ),
        (predictor(lambda s: s.mean(0).exp(), lambda z: z.log_softmax(-1)), "logs-averaged"),
        (predictor(to=identity), "logits"),
        (predictor(to=lambda z: z.log_softmax(-1)), "log-probabilities"),
        (predictor(lambda s: s.mean(0).log()), "log-probabilities"),
        (predictor(lambda s: s.sum(0)), "summed"),
        (predictor(votes), "votes"),
        (predictor(identity), "not-averaged"),
        (predictor(lambda s: s.mean(1)), "shape"),
        (predictor(lambda s: s.mean(0).argmax(-1)), "shape"),
        (predictor(lambda s: s.mean()), "shape"),
        (predictor(to=lambda z: z.softmax(0)), "softmax-over-examples"),
        (same_seed_each, "same-mask"),
        (predictor(count=lambda n: 1), "same-mask|average"),
        (predictor(before=lambda: torch.manual_seed(0)), "seed-inside"),
        (predictor(count=lambda n: 50), "not-one-sample"),
        (predictor(count=lambda n: max(1, n // 4)), "same-mask|average|fewer-samples"),
        (predictor(count=lambda n: min(n, 10)), "fewer-samples"),
        (predictor(lambda s: s.sum(0) / (len(s) + 1)), "no-probabilities"),
        (predictor(restore=not_restored), "modes-not-restored"),
        (predictor(restore=left_in_eval), "modes-not-restored"),
        (predictor(restore=restored_at_once), "modes-not-restored"),
        (predictor(on=halved_rate), "changes-model"),
        (with_gradient, "gradient-kept"),
        (gradients_off, "gradients-off"),
        (frozen_weights, "changes-model"),
        (lambda m, x, n: predictor()(m, x, n).numpy(), "no-tensor"),
        (lambda m, x, n: predictor()(m, x, n) * math.nan, "not-finite"),
        (lambda m, x, n: m(x, n), "raises"),
        (predictor(lambda s: s.median(0).values), "average|.*samples"),
        (lambda m, x, n: own_masks(m, x, n, keep=lambda rate: rate), "drop-for-keep"),
        (lambda m, x, n: own_masks(m, x, n, keep=lambda rate: 0.5), "always-half"),
        (one_mask_for_all, "shared-by-examples"),
        (lambda m, x, n: with_vmap(m, x, n, "same"), "same-mask"),
        (on_inputs, "not-one-sample"),
        (on_outputs, "not-one-sample"),
        (opposite_pairs, "opposite-samples"),
        (predictor(count=lambda n: n + 1), "not-one-sample"),
        (predictor(lambda s: s.mean(0).softmax(-1)), "softmax-twice"),
        (predictor(to=lambda z: z.sigmoid()), "no-probabilities"),
        (lambda m, x, n: predictor()(m, (x - x.mean(0)) / x.std(0), n), "not-one-sample"),
    ],
    "mc_repaired": [
        (but(rate=lambda k: k), "drop-for-keep"),
        (but(before=lambda net: net.train()), "whole-model-in-training"),
        (but(in_loop=lambda: torch.manual_seed(0)), "same-mask"),
        (but(before=lambda net: torch.manual_seed(0)), "seed-inside"),
        (but(each=identity, out=lambda z: z.softmax(-1)), "logits-averaged"),
        (but(each=identity), "logits"),
        (but(each=lambda z: z.log_softmax(-1), out=torch.exp), "logs-averaged"),
        (but(before=lambda net: net.train(), after=lambda net: net.eval()), "whole-model-.*"),
        (but(after=lambda net: net.train()), "modes-not-restored"),
        (lambda net, x, k, n: net.output(net.hidden(x)).softmax(-1).detach(), "dropout-off"),
        (with_mask(lambda h, k: (torch.rand_like(h) < k) + 0.0), "no-scale"),
        (with_mask(lambda h, k: (torch.rand(1, h.shape[1]) < k) / k), "shared-by-examples"),
        (with_mask(lambda h, k: (torch.rand(len(h), 1) < k) / k), "shared-by-units"),
        (with_mask(lambda h, k: torch.randn_like(h) * ((1 - k) / k) ** 0.5 + 1), "not-one-sample"),
    ],
}  # fmt: skip
