"""The checks of the exercises on the Bayesian view: each known misconception is told what it is.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import copy
import math
from contextlib import contextmanager

import numpy as np
import pytest
import torch
from answers import assert_told, cases
from scipy import stats
from scipy.special import entr, logsumexp, softmax, xlogy
from torch import nn

from lib.checks import bayesian
from lib.inference import mc_samples, sampling


def joint(likelihood, prior):
    return likelihood + prior


def posterior(of, normalise=softmax):
    return lambda likelihood, prior: normalise(of(likelihood, prior))


def shares(values):
    return values / values.sum()


def plain(likelihood, prior):
    return shares(np.exp(likelihood) * np.exp(prior))


def loop_posterior(likelihood, prior):
    best, weights = -math.inf, []
    pairs = list(zip(likelihood.ravel().tolist(), prior.ravel().tolist(), strict=True))
    for a, b in pairs:
        best = max(best, a + b)
    weights = [math.exp(a + b - best) for a, b in pairs]
    total = math.fsum(weights)
    return np.array([w / total for w in weights]).reshape(likelihood.shape)


def minus_best_likelihood(likelihood, prior):
    return shares(np.exp(likelihood - likelihood.max()) * np.exp(prior))


def minus_mean(likelihood, prior):
    return shares(np.exp(likelihood + prior - (likelihood + prior).mean()))


def tiny_added(likelihood, prior):
    return shares(np.exp(likelihood + prior) + 1e-300)


def nan_to_zero(likelihood, prior):
    return np.nan_to_num(plain(likelihood, prior))


def by_row(likelihood, prior):
    return softmax(likelihood + prior, axis=-1)


def winner(likelihood, prior):
    best = np.zeros(likelihood.shape)
    best[np.unravel_index((likelihood + prior).argmax(), best.shape)] = 1
    return best


GRID_POSTERIOR = [
    (posterior(joint), None),
    (loop_posterior, None),
    (lambda a, b: np.exp(a + b - logsumexp(a + b)), None),
    (
        lambda a, b: np.exp(
            np.log(plain(np.zeros_like(a), b)) + a - logsumexp(a + b - logsumexp(b))
        ),
        None,
    ),
    (lambda a, b: torch.softmax(torch.tensor(a + b).flatten(), 0).view(a.shape).numpy(), None),
    (posterior(lambda a, b: a), "prior is forgotten"),
    (lambda a, b: np.exp(a), "prior is forgotten"),
    (posterior(lambda a, b: b), "data has no part"),
    (plain, "is 0 in double precision"),
    (lambda a, b: softmax(a) * softmax(b) / (softmax(a) * softmax(b)).sum(), "exp|largest"),
    (lambda a, b: np.exp(a + b), "sum to 1.43. Divide by"),
    (lambda a, b: np.exp(a + b - (a + b).max()), "Divide by their sum"),
    (lambda a, b: softmax(a) * softmax(b), "Divide by their sum"),
    (lambda a, b: a + b - logsumexp(a + b), "These are logarithms"),
    (joint, "not normalised yet"),
    (posterior(lambda a, b: -a - b), "sign is turned"),
    (lambda a, b: posterior(joint)(a, b).round(3), "At the grid point"),
    (posterior(lambda a, b: a - b), "DIVIDED by the prior"),
    (posterior(lambda a, b: a * b), "logarithms are multiplied"),
    (posterior(lambda a, b: a + np.exp(b)), "as it is. Add its logarithm"),
    (lambda a, b: shares(np.exp(a) + np.exp(b)), "must be multiplied"),
    (lambda a, b: softmax(a) + softmax(b), "must be multiplied"),
    (posterior(joint, shares), "logarithms themselves"),
    (posterior(lambda a, b: a + 2 * b), "in it twice"),
    (posterior(joint, lambda c: shares(2**c)), "not with powers of 2"),
    (posterior(joint, lambda c: shares(10**c)), "not with powers of 10"),
    (winner, "one hypothesis"),
    (by_row, "normalised one by one"),
    (minus_best_likelihood, "largest where the prior is nearly 0"),
    (minus_mean, "NaN or infinity"),
    (tiny_added, "covered up|overflows"),
    (nan_to_zero, "covered up"),
    (lambda a, b: plain(np.maximum(a, -700), np.maximum(b, -700)), "covered up|NaN"),
    (posterior(lambda a, b: np.where(np.isinf(b), a, a + b)), "Where the prior is 0"),
    (posterior(lambda a, b: a / 2 + b / 2), "At the grid point"),
    (lambda a, b: posterior(joint)(a, b).tolist(), "must be a NumPy array"),
    (lambda a, b: posterior(joint)(a, b).ravel(), "must have shape"),
    (lambda a, b: (a + b).argmax(), "must be a NumPy array"),
]


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


def with_library(model, x, n_samples):
    return mc_samples(model, x, n_samples).softmax(dim=-1).mean(dim=0)


def train_then_norms_off(model):
    model.train()
    for module in model.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()


def with_vmap(model, x, n_samples):
    with torch.no_grad(), sampling(model):
        run = torch.vmap(lambda _: model(x).softmax(-1), randomness="different")
        return run(torch.arange(n_samples)).mean(0)


def own_masks(model, x, n_samples):
    total = 0
    with torch.no_grad():
        norm = copy.deepcopy(model[0][1]).eval()
        hidden = model[0][2](norm(model[0][0](x)))
        for _ in range(n_samples):
            mask = (torch.rand(hidden.shape) > model[0][3].p) / (1 - model[0][3].p)
            total = total + model[1](hidden * mask).softmax(-1)
    return total / n_samples


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


def with_gradient(model, x, n_samples):
    with kept_modes(model):
        switch(model)
        return passes(model, x, n_samples).mean(0)


def gradients_off(model, x, n_samples):
    torch.set_grad_enabled(False)
    return predictor()(model, x, n_samples)


def same_seed_each(model, x, n_samples):
    def one():
        torch.manual_seed(0)
        return model(x).softmax(-1)

    with torch.no_grad(), kept_modes(model):
        switch(model)
        return torch.stack([one() for _ in range(n_samples)]).mean(0)


def one_pass(model, x, n_samples):
    return predictor(count=lambda n: 1)(model, x, n_samples)


def halved_rate(model):
    switch(model)
    model[0][3].p = 0.5


def votes(samples):
    return nn.functional.one_hot(samples.argmax(-1), 4).float().mean(0)


def identity(z):
    return z


MC_PREDICT = [
    (predictor(), None),
    (on_a_copy, None),
    (in_one_batch, None),
    (with_library, None),
    (with_vmap, None),
    (own_masks, None),
    (predictor(on=train_then_norms_off), None),
    (predictor(lambda s: s.sum(0) / len(s)), None),
    (predictor(on=lambda m: m.train()), "whole model was put into training mode"),
    (predictor(on=lambda m: m.train(), restore=left_in_eval), "whole model was put"),
    (train_on_a_copy, "BatchNorm used the statistics of the batch"),
    (predictor(on=lambda m: m.eval()), "Dropout was off"),
    (predictor(on=children_only), "Dropout was off.*nested"),
    (predictor(on=dropouts_without_eval), "came in training mode.*model.eval"),
    (lambda m, x, n: m(x).softmax(-1).detach(), "Dropout was off"),
    (predictor(lambda s: s.mean(0).softmax(-1), identity), "averaged before the softmax"),
    (
        predictor(lambda s: s.mean(0).softmax(-1), lambda z: z.log_softmax(-1)),
        "averaged before the softmax",
    ),
    (predictor(lambda s: s.mean(0).exp(), lambda z: z.log_softmax(-1)), "does not even sum to 1"),
    (predictor(to=identity), "outputs are logits"),
    (predictor(to=lambda z: z.log_softmax(-1)), "are logarithms of probabilities"),
    (predictor(lambda s: s.mean(0).log()), "are logarithms of probabilities"),
    (predictor(lambda s: s.sum(0)), "samples are summed"),
    (predictor(votes), "These are votes"),
    (predictor(lambda s: s), "one by one"),
    (predictor(lambda s: s.mean(1)), "must have shape"),
    (predictor(lambda s: s.mean(0).argmax(-1)), "must have shape"),
    (predictor(lambda s: s.mean()), "must have shape"),
    (predictor(to=lambda z: z.softmax(0)), "runs over the examples"),
    (same_seed_each, "share their masks"),
    (one_pass, "share their masks"),
    (predictor(before=lambda: torch.manual_seed(0)), "Two calls gave exactly the same"),
    (predictor(count=lambda n: 50), "more samples than n_samples"),
    (predictor(lambda s: s.sum(0) / (len(s) + 1)), "must sum to 1"),
    (predictor(restore=not_restored), "not every layer left as it came"),
    (predictor(restore=left_in_eval), "not every layer left as it came"),
    (predictor(restore=restored_at_once), "not every layer left as it came"),
    (predictor(on=halved_rate), "changed the model"),
    (with_gradient, "carries a gradient"),
    (gradients_off, "switched off for good"),
    (lambda m, x, n: predictor()(m, x, n).numpy(), "Return a torch tensor"),
    (lambda m, x, n: predictor()(m, x, n) * math.nan, "NaN"),
    (lambda m, x, n: m(x, n), "raised TypeError"),
    (predictor(lambda s: s.median(0).values), "is not the average|samples"),
]


def log_densities(samples, targets, tau):
    return -tau / 2 * (targets - samples) ** 2 + 0.5 * math.log(tau) - 0.5 * math.log(2 * math.pi)


def averaged(densities):
    return logsumexp(densities, axis=0) - math.log(len(densities))


def likelihood(average=averaged, density=log_densities):
    return lambda samples, targets, tau: average(density(samples, targets, tau))


def with_scale(scale):
    """From scipy's density, given its standard deviation."""
    return likelihood(density=lambda s, y, tau: stats.norm.logpdf(y, s, scale(tau)))


def loop_likelihood(samples, targets, tau):
    result = []
    for column, y in zip(samples.T.tolist(), targets.tolist(), strict=True):
        logs = [stats.norm.logpdf(y, loc=sample, scale=1 / math.sqrt(tau)) for sample in column]
        best = max(logs)
        result.append(best + math.log(sum(math.exp(v - best) for v in logs) / len(logs)))
    return np.array(result)


def not_logs(samples, targets, tau):
    return np.log(np.exp(log_densities(samples, targets, tau)).mean(axis=0))


def not_logs_padded(samples, targets, tau):
    return np.log(np.exp(log_densities(samples, targets, tau)).mean(axis=0) + 1e-12)


def moment_matched(samples, targets, tau):
    scale = np.sqrt(samples.var(axis=0) + 1 / tau)
    return stats.norm.logpdf(targets, samples.mean(axis=0), scale)


PREDICTIVE_LOG_LIKELIHOOD = [
    (likelihood(), None),
    (loop_likelihood, None),
    (with_scale(lambda tau: tau**-0.5), None),
    (lambda s, y, tau: logsumexp(log_densities(s, y, tau), axis=0, b=1 / len(s)), None),
    (lambda s, y, tau: likelihood()(np.float32(s), np.float32(y), tau), None),
    (lambda s, y, tau: np.logaddexp.reduce(log_densities(s, y, tau)) - np.log(s.shape[0]), None),
    (likelihood(lambda d: d.mean(axis=0)), "log-densities are averaged"),
    (not_logs, r"log\(0\) is -inf"),
    (not_logs_padded, "something small added"),
    (with_scale(lambda tau: tau**0.5), "taken for the variance"),
    (with_scale(lambda tau: tau), "taken for the standard deviation"),
    (with_scale(lambda tau: 1 / tau), "1/tau is taken for the standard deviation"),
    (with_scale(lambda tau: 1), "tau has no part in it"),
    (
        likelihood(density=lambda s, y, tau: log_densities(s, y, 1) + 0.5 * math.log(tau)),
        "exponent lacks tau",
    ),
    (
        likelihood(density=lambda s, y, t: log_densities(s, y, t) - 0.5 * math.log(t)),
        "normalisation lacks tau",
    ),
    (
        likelihood(density=lambda s, y, t: log_densities(s, y, t) + 0.5 * math.log(t)),
        r"has log\(tau\)",
    ),
    (
        likelihood(density=lambda s, y, t: log_densities(s, y, t) - math.log(t)),
        r"has -1/2 log\(tau\)",
    ),
    (
        likelihood(density=lambda s, y, t: log_densities(s, y, t) + 0.5 * math.log(2 * math.pi)),
        "constant -1/2 log.* is missing",
    ),
    (
        likelihood(density=lambda s, y, t: log_densities(s, y, t) - 0.5 * math.log(2 * math.pi)),
        "It is half of that",
    ),
    (
        likelihood(density=lambda s, y, t: log_densities(s, y, t) - t / 2 * (s - y) ** 2),
        "lacks its 1/2",
    ),
    (likelihood(density=lambda s, y, t: log_densities(s, y, t) + t * (s - y) ** 2), "sign turned"),
    (likelihood(density=lambda s, y, t: -t / 2 * (s - y) ** 2), "is missing|lacks tau"),
    (likelihood(lambda d: logsumexp(d, axis=0)), "summed, not averaged"),
    (likelihood(lambda d: logsumexp(d, axis=0) / len(d)), "Divide the SUM"),
    (likelihood(lambda d: d.sum(axis=0)), "multiplies densities"),
    (likelihood(lambda d: np.exp(d).mean(axis=0)), "Take its logarithm"),
    (likelihood(lambda d: d.max(axis=0)), "best sample alone"),
    (likelihood(lambda d: d[0]), "first sample alone"),
    (likelihood(lambda d: -averaged(d)), "sign is turned"),
    (likelihood(lambda d: averaged(d) / math.log(2)), "in nats"),
    (lambda s, y, t: log_densities(s.mean(axis=0), y, t), "at the mean of the samples"),
    (moment_matched, "a mixture of Gaussians"),
    (lambda s, y, t: stats.norm.logpdf(y, s.mean(0), s.std(0)), "a mixture of Gaussians"),
    (likelihood(lambda d: averaged(d).mean()), "came out as one number"),
    (likelihood(lambda d: logsumexp(d, axis=0) - math.log(d.shape[1])), "number of targets"),
    (likelihood(lambda d: averaged(d.T)), "must have shape"),
    (likelihood(lambda d: averaged(d).tolist()), "must be a NumPy array"),
    (likelihood(lambda d: averaged(d) + 1), "Each sample gives a Gaussian"),
    (likelihood(lambda d: np.median(d, axis=0)), "Each sample gives a Gaussian"),
]


def entropy(p, axis=-1):
    return entr(p).sum(axis=axis)


def split(total=None, expected=None, information=None, entropy=entropy):
    """A right decompose but for some part, made from the samples."""

    def decompose(samples):
        h = entropy(samples.mean(axis=0)) if total is None else total(samples)
        e = entropy(samples).mean(axis=0) if expected is None else expected(samples)
        return h, e, h - e if information is None else information(h, e)

    return decompose


def naive(p):
    return -(p * np.log(p)).sum(axis=-1)


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


def padded(p):
    return -(p * np.log(p + 1e-12)).sum(axis=-1)


def in_place(samples):
    samples[samples == 0] = 1e-12
    return split(entropy=naive)(samples)


DECOMPOSE = [
    (split(), None),
    (loop_split, None),
    (by_divergence, None),
    (split(entropy=padded), None),
    (split(entropy=lambda p: -xlogy(p, p).sum(-1)), None),
    (split(entropy=lambda p: stats.entropy(p, axis=-1)), None),
    (lambda s: tuple(np.float32(part) for part in split()(s)), None),
    (split(total=lambda s: entropy(s[0])), "that of one sample"),
    (split(total=lambda s: entropy(s[-1])), "that of one sample"),
    (split(total=lambda s: entropy(s).mean(axis=0)), "mean of the samples' entropies"),
    (split(expected=lambda s: entropy(s.mean(axis=0))), "that of the averaged probabilities"),
    (split(expected=lambda s: entropy(s[0])), "expected entropy is that of one sample"),
    (split(expected=lambda s: entropy(s).sum(axis=0)), "sum over the samples"),
    (split(total=lambda s: entropy(s).sum(axis=0)), "sum over the samples"),
    (split(entropy=lambda p: entropy(p) / math.log(2)), "predictive entropy is in bits"),
    (split(expected=lambda s: stats.entropy(s, base=2, axis=-1).mean(0)), "expected .* in bits"),
    (split(information=lambda h, e: (h - e) / math.log(2)), "mutual information is in bits"),
    (split(entropy=lambda p: entropy(p) / math.log(10)), "base 10"),
    (split(entropy=lambda p: entropy(p) / math.log(p.shape[-1])), r"divided by log\(classes\)"),
    (split(entropy=lambda p: entr(p).mean(axis=-1)), "mean over the classes"),
    (split(entropy=lambda p: -entropy(p)), "MINUS the sum"),
    (split(entropy=naive), "0 . log.0. NaN"),
    (split(entropy=lambda p: np.nan_to_num(naive(p))), "Where some probabilities are 0"),
    (split(information=lambda h, e: e - h), "sign turned"),
    (split(information=lambda h, e: h + e), "are added"),
    (split(information=lambda h, e: (h - e) / h), "divided by the predictive"),
    (split(information=lambda h, e: h / e), "a ratio"),
    (split(information=lambda h, e: 0 * h), "Both entropies are right"),
    (lambda s: split()(s)[1::-1] + split()(s)[2:], "are swapped"),
    (lambda s: split()(s)[::-1], "in the place of the predictive"),
    (lambda s: split()(s)[:2], "three arrays"),
    (lambda s: split()(s)[0], "three arrays"),
    (split(total=lambda s: entropy(s.mean(axis=1))), "must have shape|raised ValueError"),
    (
        split(total=lambda s: entropy(s.mean(axis=1)), expected=lambda s: entropy(s).mean(axis=1)),
        "must have shape",
    ),
    (split(entropy=lambda p: entropy(p, axis=0)), "must have shape|raised ValueError"),
    (lambda s: [part.tolist() for part in split()(s)], "must be a NumPy array"),
    (in_place, "in place"),
    (split(total=lambda s: 1 - (s.mean(axis=0) ** 2).sum(-1)), "predictive entropy must be"),
    (split(total=lambda s: 1 - s.mean(axis=0).max(-1)), "predictive entropy must be"),
]


def variance(spread=lambda s: s.var(axis=0), noise=lambda tau: 1 / tau, to=lambda v: v):
    return lambda samples, tau: to(spread(samples) + noise(tau))


def gal_form(samples, tau):
    mean = samples.sum(axis=0) / len(samples)
    return 1 / tau + np.einsum("ti,ti->i", samples, samples) / len(samples) - mean**2


def drawn_pairs(samples, tau):
    """Half the mean square of all differences: the same variance."""
    return np.square(samples[:, None] - samples).mean(axis=(0, 1)) / 2 + tau**-1


TOTAL_VARIANCE = [
    (variance(), None),
    (gal_form, None),
    (drawn_pairs, None),
    (lambda s, tau: np.array([np.var(column) + 1 / tau for column in s.T]), None),
    (lambda s, tau: np.float32(variance()(s, tau)), None),
    (lambda s, tau: torch.tensor(s).var(0, correction=0).add(1 / tau).numpy(), None),
    (variance(noise=lambda tau: 0), "1/tau is forgotten"),
    (variance(noise=lambda tau: tau), "tau is added"),
    (variance(lambda s: s.std(axis=0)), "standard deviation stands for"),
    (variance(lambda s: s.std(axis=0), lambda tau: tau**-0.5), "1/sqrt"),
    (variance(lambda s: s.std(axis=0), lambda tau: 0), "1/tau is forgotten"),
    (variance(to=np.sqrt), "The root is taken"),
    (variance(lambda s: s.var(axis=0, ddof=1)), "ddof=1"),
    (variance(lambda s: s.var(axis=1)), "axis=0"),
    (variance(lambda s: s.var()), "came out as one number"),
    (variance(lambda s: s.var() + 0 * s[0]), "at once"),
    (variance(lambda s: (s**2).mean(axis=0)), "square of the mean is not taken off"),
    (variance(lambda s: s.var(axis=0) / len(s)), "does not shrink"),
    (variance(lambda s: s.var(axis=0) * len(s)), "squares are summed"),
    (variance(lambda s: 0 * s[0]), "noise alone"),
    (variance(lambda s: s.var(axis=0).mean() + 0 * s[0]), "Each example has its own"),
    (variance(noise=lambda tau: tau**-0.5), "standard deviation of the noise"),
    (variance(noise=lambda tau: tau**-2), "1/tau is squared"),
    (variance(noise=lambda tau: tau**0.5), "sqrt.tau. is added"),
    (variance(noise=lambda tau: -1 / tau), "subtracted"),
    (variance(noise=lambda tau: 1), "1 is added"),
    (lambda s, tau: s.var(axis=0) + 1 / (len(s) * tau), "noise is divided by the number"),
    (lambda s, tau: (s.var(axis=0) + 1 / tau) / len(s), "divided|must be"),
    (lambda s, tau: s.var(axis=0) + len(s) / tau, "Add it once"),
    (lambda s, tau: s.var(axis=0) / tau, "divided by tau"),
    (lambda s, tau: s.var(axis=0) * tau, "multiplied by tau"),
    (lambda s, tau: (s.std(axis=0) + tau**-0.5) ** 2, "Independent VARIANCES"),
    (lambda s, tau: (s.var(axis=0), 1 / tau), "must be a NumPy array"),
    (lambda s, tau: np.abs(s - s.mean(axis=0)).mean(axis=0) + 1 / tau, "the variances must be"),
    (lambda s, tau: variance()(s, tau).tolist(), "must be a NumPy array"),
]

ANSWERS = {
    "grid_posterior": GRID_POSTERIOR,
    "mc_predict": MC_PREDICT,
    "predictive_log_likelihood": PREDICTIVE_LOG_LIKELIHOOD,
    "decompose": DECOMPOSE,
    "total_variance": TOTAL_VARIANCE,
}


@pytest.mark.filterwarnings("ignore:invalid value", "ignore:divide by zero", "ignore:overflow")
@pytest.mark.parametrize(("check", "answer", "message"), cases(bayesian, ANSWERS))
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    assert_told(check, answer, message, capsys)
    assert torch.is_grad_enabled()


@pytest.mark.parametrize("seed", range(20))
def test_no_false_alarm(seed):
    """A right answer passes however its masks fall."""
    torch.manual_seed(seed)
    bayesian.mc_predict(predictor())
    bayesian.mc_predict(own_masks)


def test_the_check_leaves_the_generator_of_others_alone():
    """Only the student's own draws move torch's generator: networks come from a fork."""
    torch.manual_seed(0)
    bayesian._Network(3)
    first = torch.rand(1)
    torch.manual_seed(0)
    assert torch.rand(1) == first
