"""Checks of the exercises on the Bayesian view."""

import copy
import itertools
import math
from functools import cached_property, partial

import numpy as np
from scipy.special import entr, logsumexp, softmax, xlogy
from scipy.stats import norm

from lib.checks.engine import Array, Missed, Number, exercise, refuse, summary_of, varied
from lib.checks.traits import coins, torch_seeded
from lib.masks import all_masks, mask_probabilities

summary = summary_of("bayesian")


# A table reads best with one idea in one block.
# fmt: off

# How wide is the prediction?


def variance_cases(data):
    def draw(n_samples, n):
        samples = data.normal(size=(n_samples, n)) * data.uniform(0.5, 2, n)
        return samples + 2 + data.normal(size=n)

    samples, again = draw(6, 4), draw(6, 4)
    pairs = [(samples, 3.0), (samples, 0.4), (again, 0.4), (draw(5, 1), 2.5), (draw(3, 5) + 20, 1)]
    return [{"samples": each, "tau": tau} for each, tau in pairs]


@exercise(
    returns=Array("The variance", lambda samples: samples.shape[1:],
                  "There is one for each example: the variance over the samples, axis=0."),
    cases=variance_cases,
    otherwise="A target is one of the samples plus noise: add the variance of the samples, over "
    "axis 0, and the variance of the noise, 1/tau.",
    done="the samples' variance plus 1/tau.",
)
def total_variance(samples, tau, *, spread=lambda s: s.var(axis=0), noise=lambda tau, n: 1 / tau):
    """Variance of the average of Gaussians, for each example."""
    return spread(samples) + noise(tau, len(samples))


wrong = total_variance.wrong
wrong("no-noise", "1/tau is forgotten. The samples' variance says where the MEAN may be; a target "
      "scatters around that mean, with 1/tau.", {"noise": lambda tau, n: 0})
wrong("tau-added", "tau is added. It is the precision: the variance is 1/tau.",
      {"noise": lambda tau, n: tau})
wrong("deviation-of-noise", "1/sqrt(tau) is added, the noise's standard deviation. Its variance is "
      "1/tau.", {"noise": lambda tau, n: tau**-0.5})
wrong("noise-averaged", "The noise is divided by the number of samples. A new target has noise of "
      "its own, once: add 1/tau.", {"noise": lambda tau, n: 1 / (n * tau)})
wrong("deviations-added", "Standard deviations are added. Independent VARIANCES add up.",
      {"spread": lambda s: s.std(axis=0)}, lambda s, tau: (s.std(axis=0) + tau**-0.5) ** 2)
wrong("ddof", "The squares are divided by n_samples - 1 (ddof=1). The prediction is the average of "
      "exactly these Gaussians: divide by n_samples.", {"spread": lambda s: s.var(axis=0, ddof=1)})
wrong("mean-not-off", "The square of the mean is not taken off the mean of the squares.",
      {"spread": lambda s: np.square(s).mean(axis=0)})
wrong("of-the-mean", "The samples' variance is divided by their number. That says how well their "
      "MEAN is known; their spread does not shrink with more of them.",
      *varied("spread", lambda s: s.var(0) / len(s), lambda s: s.var(0, ddof=1) / len(s)))
wrong("summed", "The squares are summed. Divide by the number of samples.",
      {"spread": lambda s: s.var(axis=0) * len(s)})
wrong("all-at-once", "One spread for all examples: each has its own, over the samples alone, "
      "axis=0.", *varied("spread", lambda s: s.var() + 0 * s[0],
      lambda s: s.var(0).mean() + 0 * s[0]))

# A posterior on a grid


def grid_cases(data):
    def steps(low, high, shape):  # multiples of 1/64: sums are exact in single precision, far off
        return data.integers(low * 64, high * 64, shape) / 64

    near, prior, row = steps(-4, 0, (4, 5)), steps(-3, 1, (4, 5)), steps(-3, 0, 6)
    apart = np.array([0.0, -3000, -2990, -4995, -4992, -5001])  # the likelihood's best, alone
    stages = [
        [(near, prior), (near, steps(-3, 1, (4, 5))), (steps(-4, 0, (4, 5)), prior),
         *((steps(-4, 0, shape), steps(-3, 1, shape)) for shape in (7, (2, 3, 2)))],
        [(np.array([-1.0, -2, 0]), np.array([-0.5, -0.5, -np.inf]))],  # the last is excluded
        [(row - 2000, -row / 2)],
        [(row + 2000, -row / 2), (apart - 2000, np.where(apart == 0, -9000.0, -1.0))],
    ]
    return [[{"log_likelihood": a, "log_prior": b} for a, b in stage] for stage in stages]


def of_all(weights):
    return weights / weights.sum()


VANISHED = ("np.exp(-2000) is 0 and np.exp(2000) is infinite in the computer. Stay in logarithms: "
            "subtract the largest entry of log_likelihood + log_prior BEFORE np.exp.")


@exercise(
    returns=Array("The posterior", lambda log_likelihood: log_likelihood.shape,
                  "One probability for each point of the grid.", infinite=VANISHED),
    cases=grid_cases,
    otherwise="The posterior is proportional to exp(log_likelihood + log_prior), and sums to 1.",
    rtol=2e-4,
    done="likelihood times prior, normalised, far from 1 too.",
)
def grid_posterior(log_likelihood, log_prior, *, joint=lambda a, b: a + b,
                   weights=lambda c: np.exp(c - c.max()), normalise=of_all):
    """Posterior probabilities of the hypotheses on a grid."""
    return normalise(weights(joint(log_likelihood, log_prior)))


wrong = grid_posterior.wrong
wrong("no-prior", "The prior is forgotten. The posterior is the likelihood TIMES the prior: add "
      "their logarithms.", {"joint": lambda a, b: a})
wrong("logarithm", "These are logarithms: take np.exp of them, and divide by the sum.",
      lambda a, b: a + b, lambda a, b: a + b - (a + b).max(), lambda a, b: a + b - logsumexp(a + b))
wrong("not-normalised", "The shape of the posterior is right, but it does not sum to 1. Divide by "
      "the sum: the points of the grid are all the hypotheses there are.",
      {"normalise": lambda w: w}, lambda a, b: np.exp(a + b), lambda a, b: softmax(a) * softmax(b),
      lambda a, b: softmax(a) * np.exp(b))
wrong("by-row", "Rows or columns are normalised one by one. The whole grid is one set of "
      "hypotheses: all together sum to 1.", *varied("normalise", lambda w: w / w.sum(0),
      lambda w: w / w.sum(-1, keepdims=True)))
wrong("prior-not-log", "The logarithm of one is combined with the other itself, or taken twice. "
      "Add the two logarithms as they are given.", *varied("joint", lambda a, b: a + np.exp(b),
      lambda a, b: a + np.log(b)))
wrong("added", "Likelihood and prior are added. They must be multiplied: add their LOGARITHMS.",
      lambda a, b: of_all(np.exp(a) + np.exp(b)), lambda a, b: np.exp(a) + np.exp(b),
      lambda a, b: (softmax(a) + softmax(b)) / 2)
wrong("tempered", "Likelihood or prior has a weight of its own, such as 2 or 1/2. Multiply them "
      "once: log_likelihood + log_prior.", *varied("joint", lambda a, b: a + 2 * b,
      lambda a, b: 2 * a + b, lambda a, b: (a + b) / 2))
wrong("another-base", "The logarithms are natural ones: undo them with np.exp, not with powers of "
      "2 or 10.", *varied("weights", lambda c: 2 ** (c - c.max()), lambda c: 10 ** (c - c.max())))
wrong("best-only", "All the probability is at the best point. The posterior keeps all hypotheses, "
      "each with its weight.", {"normalise": lambda w: of_all((w == w.max()) + 0.0)})
wrong("zero-prior", "Where log_prior is -inf, the posterior must be 0, and the others as if that "
      "point were not there.", {"joint": lambda a, b: np.where(np.isinf(b), a, a + b)})
wrong("constant-not-largest", "What is subtracted before np.exp must make the LARGEST product of "
      "likelihood and prior 1: (log_likelihood + log_prior).max(). With another number some "
      "overflow, or all vanish.", lambda a, b: of_all(np.exp(a - a.max()) * np.exp(b)),
      {"weights": lambda c: np.exp(c - c.mean())})
wrong("underflow-covered-up", "Far from 0 it is wrong: underflow is covered up, by clipping or by "
      "a small number. Subtract the largest entry of log_likelihood + log_prior before np.exp "
      "instead.", lambda a, b: of_all(np.exp(a + b) + 1e-300),
      lambda a, b: np.nan_to_num(of_all(np.exp(a + b))),
      lambda a, b: softmax(np.maximum(a, -700) + b), lambda a, b: softmax(a + np.maximum(b, -700)))
wrong("naive", VANISHED, {"weights": np.exp})

# How likely are the targets?


def likelihood_cases(data):
    targets = data.normal(size=4)
    samples = targets + data.normal(size=(6, 4))
    near = [(samples, targets, 3.0), (samples, targets, 0.4), (samples, data.normal(size=4), 0.4),
            (data.normal(size=(6, 4)), targets, 0.4),
            *((data.normal(size=(n, m)), data.normal(size=m), 2.5) for n, m in ((1, 3), (5, 1)))]
    far = np.array([[0.0, 1], [1, 0]]), np.array([300.0, -90]), 2.0
    return [[{"samples": s, "targets": y, "tau": tau} for s, y, tau in stage]
            for stage in (near, [far])]


ROUNDED = ("A target far from all samples has a density that np.exp rounds to 0, and log(0) is "
           "-inf. Stay in logarithms: logsumexp over the samples of the log-densities.")


@exercise(
    returns=Array("The log-likelihood", lambda targets: targets.shape,
                  "There is one for each target: the average is over the samples alone.",
                  infinite=ROUNDED),
    cases=likelihood_cases,
    otherwise="Each sample gives a Gaussian of variance 1/tau: average their densities, then take "
    "the logarithm: by logsumexp, for targets far away.",
    done="densities averaged, precision tau, far targets too.",
)
def predictive_log_likelihood(
    samples, targets, tau, *, precision=lambda tau: tau, inside=lambda tau: tau / 2,
    square=np.square, constant=1.0, root=1.0, average=lambda d: logsumexp(d, 0) - math.log(len(d)),
):
    """Log-likelihood of targets under the average of Gaussians."""
    tau = precision(tau)
    scale = root / 2 * math.log(tau) - constant / 2 * math.log(2 * math.pi)
    return average(scale - inside(tau) * square(targets - samples))


SMALL = (2.2250738585072014e-308, 2.220446049250313e-16, 1e-15,
         *(10.0**-k for k in (323, 300, 200, 100, 50, 30, 20, 16, 12, 10, 9, 8, 7, 6)))
wrong = predictive_log_likelihood.wrong
wrong("mean-of-logs", "The log-densities are averaged or summed. The prediction is an average of "
      "DENSITIES: take the logarithm of their mean, logsumexp less log(n_samples).",
      *varied("average", lambda d: d.mean(axis=0), lambda d: d.sum(axis=0)))
wrong("tau-is-variance", "tau or 1/tau is taken for what it is not: tau is the precision, the "
      "variance is 1/tau, and the standard deviation 1/sqrt(tau).",
      *varied("precision", lambda tau: 1 / tau, lambda tau: tau**-2, lambda tau: tau**2))
wrong("exponent", "The exponent is another one. It is -tau/2 (y - f)^2: with tau, the 1/2, the "
      "minus and the square.", *varied("inside", lambda tau: tau, lambda tau: -tau / 2,
      lambda tau: 0.5, lambda tau: 0.5 / tau, lambda tau: tau**2 / 2), {"square": np.abs})
wrong("normalisation", "The exponential needs the factor sqrt(tau / (2 pi)): PLUS 1/2 log(tau), "
      "MINUS 1/2 log(2 pi).", *varied("root", 0.0, 2.0, -1.0), *varied("constant", 0.0, 2.0),
      {"root": 0.0, "constant": 0.0})
wrong("summed", "The densities are summed, not averaged: subtract log(n_samples).",
      {"average": lambda d: logsumexp(d, axis=0)})
wrong("number-of-targets", "The number of targets is in it. The mean is over the samples: subtract "
      "log(n_samples).", *varied("average", lambda d: logsumexp(d, 0) - math.log(d[0].size),
      lambda d: logsumexp(d, 0) - math.log(d.size)))
wrong("plug-in", "This is one Gaussian around the mean of the samples. The prediction is a "
      "mixture, with a Gaussian around each sample: average their densities.",
      lambda s, y, tau: norm.logpdf(y, s.mean(0), tau**-0.5),
      lambda s, y, tau: norm.logpdf(y, s.mean(0), np.sqrt(s.var(0) + 1 / tau)))
wrong("largest-not-back", "The largest log-density is taken out before np.exp, and never added "
      "again after the logarithm.",
      {"average": lambda d: np.log(np.exp(d - d.max(axis=0)).mean(axis=0))})
wrong("underflow-covered-up", "Far from all samples it is off: something small is added before the "
      "logarithm, or it is clipped. Use logsumexp, which stays in logarithms.",
      *({"average": lambda d, e=e: np.log(np.exp(d).mean(axis=0) + e)} for e in SMALL),
      *({"average": lambda d, low=low: np.nan_to_num(np.log(np.exp(d).mean(0)), neginf=low)}
      for low in (None, 0)))
wrong("naive", ROUNDED, {"average": lambda d: np.log(np.exp(d).mean(axis=0))})

# Whose doubt is it?


def split_cases(data):
    def draw(n_samples, n, classes, spread=1.0):
        return data.dirichlet(np.full(classes, spread), size=(n_samples, n))

    samples, zeros = draw(6, 5, 4, 0.6), draw(6, 5, 4, 0.6)
    zeros[:2, 0], zeros[2:, 0] = np.eye(4)[0], np.eye(4)[2]  # sure, and opposed
    zeros[:, 1] = np.eye(4)[3]  # sure, and of one mind
    zeros[:, 2, 0] = 0
    zeros[:, 2] /= zeros[:, 2].sum(axis=-1, keepdims=True)
    zeros[:5, 3], zeros[5, 3] = np.eye(4)[1], 1 / 4  # one is less sure than all of them together
    return [[{"samples": each} for each in (samples, draw(1, 3, 2), draw(4, 1, 7))],
            [{"samples": zeros}]]


def entropy(p):
    return entr(p).sum(axis=-1)


def in_orders(right, orders):
    """Right answers that return what they return in other orders."""
    return [lambda *given, order=order: tuple(right(*given)[i] for i in order) for order in orders]


EACH = "There is one number for each example: average over axis 0, and sum over the last axis."
ZEROS = ("A probability of 0 adds 0 to an entropy, but NumPy makes 0 * log(0) NaN. Neither add "
         "something to p nor replace the NaN at the end: scipy.special.entr knows the limit.")


@exercise(
    returns=tuple(
        Array(f"The {name}", lambda samples: samples.shape[1:2], EACH, short, infinite=ZEROS)
        for name, short in (("predictive entropy", "predictive"), ("expected entropy", "expected"),
                            ("mutual information", "information"))
    ),
    cases=split_cases,
    otherwise="Predictive: the entropy of the averaged probabilities. Expected: the average of the "
    "samples' entropies. Mutual information: their difference.",
    done="predictive = expected + mutual information, in nats.",
)
def decompose(samples, *, h=entropy, total=lambda s, h: h(s.mean(axis=0)),
              expected=lambda s, h: h(s).mean(axis=0), information=lambda t, e: t - e):
    """Predictive entropy, expected entropy and mutual information."""
    t, e = total(samples, h), expected(samples, h)
    return t, e, information(t, e)


wrong = decompose.wrong
wrong("order", "The three are in another order. Return predictive (of the mean), expected (the "
      "mean of each), information (their difference).",
      *in_orders(decompose.right, [*itertools.permutations(range(3))][1:]))
wrong("entropies-averaged", "The predictive entropy is the mean of the entropies. Average the "
      "probabilities first: two sure samples that disagree are unsure together.",
      {"total": lambda s, h: h(s).mean(axis=0)})
wrong("entropy-of-mean", "The expected entropy is that of the averaged probabilities. Take the "
      "entropy of each sample first, then their mean.",
      {"expected": lambda s, h: h(s.mean(axis=0))})
wrong("one-sample", "{what} is that of one sample. Average over all of them: the probabilities for "
      "the predictive entropy, the entropies for the expected one.",
      {"total": lambda s, h: h(s[0])}, {"expected": lambda s, h: h(s[0])})
wrong("another-base", "{what} is in another unit: in bits, or divided by log(classes). Return "
      "nats, as the natural logarithm gives them.",
      *({"h": lambda p, by=by: entropy(p) / math.log(by or p.shape[-1])} for by in (2, 10, None)),
      {"information": lambda t, e: (t - e) / math.log(2)})
wrong("mean-over-classes", "{what} is a mean over the classes. Sum over them.",
      {"h": lambda p: entr(p).mean(axis=-1)})
wrong("summed-over-samples", "{what} is a sum over the samples. Take the mean: of the "
      "probabilities for the predictive entropy, of the entropies for the expected one.",
      {"total": lambda s, h: h(s.sum(axis=0))}, {"expected": lambda s, h: h(s).sum(axis=0)})
wrong("sign", "{what} has its sign turned. An entropy is MINUS the sum of p log p, and the mutual "
      "information is predictive LESS expected: none is negative.", {"h": lambda p: -entropy(p)},
      {"information": lambda t, e: e - t})
wrong("not-an-entropy", "{what} is another measure of doubt: 1 less the largest probability or the "
      "sum of squares, or an entropy of each class alone. H(p) is MINUS the sum of p log p.",
      *varied("h", lambda p: 1 - p.max(axis=-1), lambda p: 1 - (p**2).sum(axis=-1),
      lambda p: entropy(p) + entropy(1 - p)))
wrong("not-the-difference", "The mutual information is the predictive entropy LESS the expected "
      "one. Yours is something else, such as their sum or ratio, or a variance of the samples.",
      *varied("information", lambda t, e: t + e, lambda t, e: (t - e) / t, lambda t, e: 0 * t),
      *(lambda s, of=of: (*decompose.right(s)[:2], of(s.var(0), -1)) for of in (np.sum, np.mean)))
wrong("axes", "The axes are mixed up. Average over the samples, axis 0; sum over the classes, the "
      "last axis.", lambda s: decompose.right(s.swapaxes(0, 1)),
      {"h": lambda p: entr(p).sum(axis=0)})
wrong("zeros", ZEROS, *varied("h", lambda p: -(p * np.log(p)).sum(axis=-1),
      lambda p: np.nan_to_num(-(p * np.log(p)).sum(axis=-1))),
      *({"h": lambda p, e=e: -xlogy(p, p + e).sum(axis=-1)} for e in (1e-3, 1e-4, 1e-5)))

# Is it right as often as it says?


def reliability_cases(data):
    def case(n, n_bins, classes=3, bins=range(20)):
        """Confidences clear of the bins' edges."""
        p = data.dirichlet(np.full(classes, 0.7), 100 * n)
        at = p.max(axis=1) * n_bins
        p = p[(np.abs(at % 1 - 0.5) < 0.45) & np.isin(at.astype(int), bins)][:n]
        guessed = data.random(n) < 0.75
        labels = np.where(guessed, data.integers(0, classes, n), p.argmax(axis=1))
        return {"probabilities": p, "labels": labels, "n_bins": n_bins}

    one = case(40, 10)
    edges = np.array([[0.5, 0.3, 0.2], [0.1, 0.75, 0.15], [0.0, 0.0, 1.0], [0.05, 0.9, 0.05],
                      [0.2, 0.2, 0.6], [0.25, 0.625, 0.125]])
    return [
        one,
        one | {"labels": (one["labels"] + 1) % 3},
        one | {"n_bins": 1},
        one | {"probabilities": np.roll(one["probabilities"], 1, axis=0)},
        case(60, 5, 4, [2, 4]),  # with empty bins between
        case(1, 10, bins=[4]),
        {"probabilities": edges, "labels": np.array([0, 2, 2, 1, 0, 1]), "n_bins": 4},
    ]


def in_bins(confidence, n_bins):
    return np.minimum((confidence * n_bins).astype(int), n_bins - 1)


EMPTY = "A bin without examples has no mean: leave 0 there, and divide only where count > 0."
BINS = "There is one entry for each bin, n_bins in all, empty bins included."


@exercise(
    returns=(
        *(Array(what, lambda n_bins: (n_bins,), BINS, infinite=EMPTY)
          for what in ("count", "confidence", "accuracy")),
        Number("The calibration error", "ece", infinite=EMPTY),
    ),
    cases=reliability_cases,
    otherwise="Bin b holds the examples whose largest probability is from b/n_bins up to, and not "
    "with, (b+1)/n_bins; the last bin has 1 as well. Take means in each bin, then "
    "sum count/n * |accuracy - confidence|.",
    rtol=1e-4,
    done="binned by the answer's probability, weighted by the examples.",
)
def reliability(probabilities, labels, n_bins, *, sure=lambda p, y: p.max(axis=1),
                right=lambda p, y: p.argmax(axis=1) == y, which=in_bins,
                mean=lambda total, count: total / np.maximum(count, 1),
                shown=None, ece=lambda w, d, n: np.sum(w * np.abs(d))):
    """Count, mean confidence and accuracy of each bin, and the expected calibration error."""
    confidence = sure(probabilities, labels)
    bins = which(confidence, n_bins)
    count, conf, acc = (
        np.bincount(bins, values, minlength=n_bins)[:n_bins]
        for values in (np.ones(len(bins)), confidence, right(probabilities, labels).astype(float))
    )
    conf, acc = shown(count > 0, n_bins) if shown else mean(conf, count), mean(acc, count)
    return count, conf, acc, ece(count / len(labels), acc - conf, count)


wrong = reliability.wrong
wrong("true-class", "The confidence is that of the TRUE class. It is how sure the network is of "
      "its own answer: the largest probability, whatever the label.",
      {"sure": lambda p, y: p[np.arange(len(y)), y]})
wrong("errors-counted", "The wrong answers are counted. Accuracy is the share of right ones.",
      {"right": lambda p, y: p.argmax(axis=1) != y})
wrong("upper-edge", "A confidence on an edge is in the wrong bin. Bin b goes from b/n_bins up to, "
      "and not with, (b+1)/n_bins.",
      {"which": lambda c, n: np.clip(np.ceil(c * n).astype(int) - 1, 0, n - 1)})
wrong("one-lost", "An example with confidence 1 is lost, or has a bin of its own. It belongs to "
      "the last bin.", {"which": lambda c, n: (c * n).astype(int)})
wrong("range-of-data", "The bins share out the range of these confidences. They share out 0 to 1, "
      "whatever the data, so that two networks can be compared.",
      *varied("which", lambda c, n: in_bins((c - c.min()) / max(np.ptp(c), 1e-12), n),
      lambda c, n: in_bins(c / c.max(), n)))
wrong("midpoint", "The confidence of a bin is the mean of those in it, not its middle or edge.",
      *({"shown": lambda full, n, at=at, empty=empty: (full | empty) * (np.arange(n) + at) / n}
      for at in (0, 0.5, 1) for empty in (False, True)))
wrong("unweighted", "The bins have other weights in the calibration error. Weight each by its "
      "share of the examples, count/n, and sum: one with two examples must not count like one with "
      "two hundred.", *varied("ece", lambda w, d, n: np.abs(d).mean(),
      lambda w, d, n: np.abs(d).sum(), lambda w, d, n: np.abs(d)[n > 0].mean(),
      lambda w, d, n: np.mean(w * np.abs(d)), lambda w, d, n: n @ np.abs(d)))
wrong("signs-cancel", "The signs are kept in the calibration error: bins that are too sure cancel "
      "others that are not sure enough. Take the absolute value in each bin.",
      *varied("ece", lambda w, d, n: w @ d, lambda w, d, n: -w @ d, lambda w, d, n: abs(w @ d)))
wrong("largest", "This is the largest distance of all bins. The EXPECTED calibration error is "
      "their weighted mean.", {"ece": lambda w, d, n: np.abs(d).max()})
wrong("sums", "{what} is not a mean: divide the sum of each bin by the number of examples OF THE "
      "BIN.", *varied("mean", lambda total, count: total, lambda total, count: total / count.sum()))
wrong("order", "The four are in another order. Return count, confidence, accuracy, ece.",
      *in_orders(reliability.right, ((0, 2, 1, 3), (1, 2, 0, 3))))

# What masks can make of an input


class Network:
    """A small classifier with batch norm, and all that masks of its hidden layers can make of x."""

    def __init__(self, data, keep_prob, both=True):
        import torch
        from torch import nn

        self.keep_prob = keep_prob
        self.masks = all_masks(2) if both else np.ones((1, 2)), all_masks(3)
        with torch_seeded(int(data.integers(2**31))), torch.no_grad():
            batch_norm = nn.BatchNorm1d(2)
            self.layers = [nn.Linear(3, 2), batch_norm, nn.Tanh(), nn.Linear(2, 3), nn.Tanh(),
                           nn.Linear(3, 4)]
            self.x = torch.randn(150, 3)
            batch_norm.running_mean.normal_(0.5, 0.5)
            batch_norm.running_var.uniform_(0.3, 0.6)
            for layer in self.layers[3], self.layers[5]:
                layer.weight.mul_(3)

    def logits(self, on=(True, True), factor=None, batch=False):
        """Of each example under every pair of masks, (examples, pairs, classes)."""
        import torch

        factor = factor or 1 / self.keep_prob
        one, two = (torch.Tensor(factor * m if drops and len(m) > 1 else 0 * m[:1] + 1)
                    for drops, m in zip(on, self.masks, strict=True))
        below, batch_norm, tanh, middle, _, above = copy.deepcopy(self.layers)
        with torch.no_grad():
            hidden = tanh(batch_norm.train(batch)(below(self.x)))[:, None] * one
            return above(tanh(middle(hidden))[:, :, None] * two).flatten(1, 2).double().numpy()

    @cached_property
    def right(self):
        """Probabilities under every pair of masks."""
        return softmax(self.logits(), axis=2)

    def weights(self):
        """Probabilities of the pairs of masks."""
        one, two = (mask_probabilities(m, self.keep_prob) for m in self.masks)
        return (np.outer(one, two) / one.sum()).reshape(1, -1, 1)


def state_of(model):
    """Everything of a model that must stay, but the modes."""
    rates = {f"rate {i}": m.p for i, m in enumerate(model.modules()) if hasattr(m, "p")}
    grads = {f"requires_grad of {k}": v.requires_grad for k, v in model.named_parameters()}
    return {k: v.clone().numpy() for k, v in model.state_dict().items()} | rates | grads


STILL = ("Keep BatchNorm in eval mode: it must use its stored statistics, so that a prediction "
         "does not hang on the other examples, and leave them as they are.")
AVERAGE = "p(y|x) is the average of the PROBABILITIES: softmax each sample, then average."


def one_call(run, classifier, arrives, **given):
    """Probabilities from a model that must stay as it is."""
    import torch

    before, modes = state_of(classifier), [m.training for m in classifier.modules()]
    gradients, n_rows = torch.is_grad_enabled(), len(given["x"])
    try:
        result = run(**given, raw=True)
        kept_on = torch.is_grad_enabled() == gradients
    finally:
        torch.set_grad_enabled(gradients)
    changed = [k for k, v in state_of(classifier).items() if not np.array_equal(v, before[k])]
    refuse(any("running" in k or "num_batches" in k for k in changed), "batch-statistics",
           f"The model came {arrives}, and the stored statistics of BatchNorm have changed: was "
           f"the whole model in training mode? {STILL}")
    refuse(changed, "changes-model", f"Your function changed the model: {', '.join(changed[:3])}.")
    kind = getattr(result, "dtype", None)
    refuse(kind not in (torch.float32, torch.float64), "no-tensor",
           f"Return a torch tensor of float32 or float64, not {type(result).__name__}, {kind}.")
    refuse(result.shape != (n_rows, 4), "shape",
           f"For {n_rows} examples and 4 classes the shape must be {(n_rows, 4)}, yours is "
           f"{tuple(result.shape)}. Average over the samples alone.")
    refuse(result.requires_grad, "gradient-kept",
           "The result carries a gradient. Prediction needs none: compute under torch.no_grad().")
    refuse(not kept_on, "gradients-off", "Gradients are switched off for good after your function. "
           "Use `with torch.no_grad():`, which ends with its block.")
    refuse([m.training for m in classifier.modules()] != modes, "modes-not-restored",
           f"The model came {arrives}, and not every layer left as it came. Note the flag "
           "`training` of EACH module first, and set it back at the end.")
    return result.double().numpy()


def among(values, outcomes):
    """Which of its possible outcomes each example has; None if one has none of them."""
    apart = np.abs(values[:, None] - outcomes).max(axis=2)
    return apart.argmin(axis=1) if (apart.min(axis=1) < 1e-4).all() else None


def first_sample(one, net):
    """Masks of a single sample; or say what it is, if not the probabilities under one mask."""
    which = among(one, net.right)
    if which is not None:
        return net.masks[1][which % 8] == 1
    batch = net.logits(batch=True)
    for name, logits, sentence in (
        ("dropout-off", [net.logits(on) for on in ((False, False), (True, False), (False, True))],
         "Dropout was off, in all layers or in one of them. Switch on each dropout layer, nested "
         "ones too (model.modules() finds them), or F.dropout itself."),
        ("batch-statistics", [batch], f"BatchNorm used the statistics of the batch. {STILL}"),
        ("drop-for-keep", [net.logits(factor=1 / (1 - net.keep_prob))],
         "The units are kept with 1 - keep_prob, or scaled so. torch asks for the probability to "
         "DROP a unit: F.dropout(h, 1 - keep_prob)."),
        ("no-scale", [net.logits(factor=factor) for factor in (1, 2, net.keep_prob)],
         "Kept units are not divided by keep_prob. F.dropout(h, 1 - keep_prob) does it; without a "
         "rate it divides by 1/2."),
    ):
        seen = among(one, softmax(np.concatenate(logits, axis=1), axis=2)) is not None
        refuse(seen, name, sentence)
    logarithms = np.concatenate([net.logits(), batch, np.log(net.right)], axis=1)
    refuse(among(one, logarithms) is not None, "logits",
           f"The outputs are logits, or logarithms of probabilities. {AVERAGE}")
    sums = one.sum(axis=1)
    off = not np.allclose(sums, 1, atol=1e-4)
    refuse(off and np.allclose(one.sum(axis=0), 1, atol=1e-4), "softmax-over-examples",
           "The softmax runs over the examples: what sums to 1 is a column. Take softmax(dim=-1), "
           "over the classes.")
    refuse(off, "no-probabilities",
           f"With n_samples=1 the probabilities of an example sum to {sums[0]:.4g}, not to 1. Is "
           "each sample a softmax over the classes, and their sum divided by n_samples?")
    refuse(np.isin(one, (0, 1)).all(), "votes",
           f"These are votes: each sample counts for its likeliest class alone. {AVERAGE}")
    raise Missed("With n_samples=1 each example must get the softmax of its logits under one mask. "
                 "Yours is something else: more samples, a second softmax, or a mask of your own?",
                 "not-one-sample")


def two_samples(two, net):
    """How many of two masks keep each unit; or say what two samples are, if not averaged."""
    z, p = net.logits(), net.right
    i, j = np.array(list(itertools.combinations_with_replacement(range(z.shape[1]), 2))).T

    def mean(values):
        return (values[:, i] + values[:, j]) / 2

    which = among(two, mean(p))
    if which is not None:
        return net.masks[1][i[which] % 8] + net.masks[1][j[which] % 8]
    logs = np.concatenate([softmax(mean(z), axis=2), np.exp(mean(np.log(p)))], axis=1)
    refuse(among(two, logs) is not None, "logits-averaged",
           "Logits or log-probabilities were averaged, before the softmax or np.exp: that is a "
           f"geometric mean. {AVERAGE}")
    raise Missed("One sample is right, but two are not averaged: with n_samples=2 the output of an "
                 f"example sums to {two[0].sum():.3g}. {AVERAGE}", "average")


def sampling_traits(call, net):
    """One sample, two and forty: which masks there are, and what is averaged."""
    keep_prob = net.keep_prob
    masks = np.array([first_sample(call(1), net) for _ in range(8)])
    seeded = (masks == masks[0]).all()
    for off in () if seeded else coins(masks, keep_prob, ("call", "example", "unit")):
        raise Missed(off.sentence, off.name)
    kept = np.array([two_samples(call(2), net) for _ in range(2)])
    spread = np.square(kept - 2 * keep_prob).mean() / (2 * keep_prob * (1 - keep_prob))
    many, again = call(40), call(40)
    refuse(among(many, net.right) is not None, "same-mask",
           "All samples are equal: they share their masks. Each sample needs fresh ones. Is a seed "
           "set inside the loop, or is the model run once only?")
    refuse(seeded or np.array_equal(many, again), "seed-inside",
           "Two calls gave exactly the same. Is a seed set inside your function? Then every call "
           "draws the same masks, and whoever draws after it gets them too.")
    exact = (net.weights() * net.right).sum(axis=1)
    variance = (net.weights() * (net.right - exact[:, None]) ** 2).sum() / 40
    ratio = ((many - exact) ** 2).sum() / variance
    refuse(ratio > 2, "fewer-samples",
           f"With n_samples=40 the result is as far from its mean as with {40 / ratio:.0f} "
           "samples. Draw all of them, each with fresh masks, and let each count the same.")
    refuse(ratio < 0.5 or spread < 0.68, "more-samples",
           "The result is nearer to its mean than n_samples independent samples come: are there "
           "more samples, or pairs of masks that know of each other, such as opposite ones?")

# Repair this script


def repaired_traits(run, data):
    from torch import nn

    for keep_prob in (0.8, 0.35):
        net = Network(data, keep_prob, both=False)
        model = nn.Module()
        model.hidden, model.output = nn.Sequential(*net.layers[:5]), net.layers[5]
        call = partial(one_call, run, model.eval(), "in eval mode", net=model, x=net.x,
                       keep_prob=keep_prob)
        sampling_traits(lambda n, call=call: call(n_samples=n), net)
    return ()


@exercise(
    returns=Array("The result", lambda x: (len(x), 4)),
    traits=repaired_traits,
    done="batch norm left alone, masks fresh and at the right rate, probabilities averaged.",
)
def mc_repaired(net, x, keep_prob, n_samples):
    """Average the class probabilities over masks of the hidden units."""
    import torch

    with torch.no_grad():
        hidden = net.hidden(x).expand(n_samples, -1, -1)
        dropped = torch.nn.functional.dropout(hidden, 1 - keep_prob)
        return net.output(dropped).softmax(dim=-1).mean(dim=0)

# Masks on, statistics still


def predict_traits(run, data):
    from torch import nn

    for depth, arrives in ((1, "in eval mode"), (0, "in training mode"),
                           (2, "with BatchNorm frozen"), (3, "with all but Dropout in training")):
        net = Network(data, (0.7, 0.8)[depth % 2])
        drops = [nn.Dropout(1 - net.keep_prob) for _ in range(2)]
        below, above = [*net.layers[:3], drops[0]], [*net.layers[3:5], drops[1], net.layers[5]]
        for _ in range(depth):
            below = [nn.Sequential(*below)]
        model = nn.Sequential(*below, *above).train(depth != 1)
        for module in {2: net.layers[1:2], 3: drops}.get(depth, ()):
            module.eval()
        call = partial(one_call, run, model, arrives, model=model, x=net.x)
        sampling_traits(lambda n, call=call: call(n_samples=n), net)
    return ()


@exercise(
    returns=Array("The result", lambda x: (len(x), 4)),
    traits=predict_traits,
    done="probabilities averaged, fresh masks, the model as it was.",
)
def mc_predict(model, x, n_samples):
    """Average the class probabilities over masks, with all else in eval."""
    from lib.inference import mc_samples

    return mc_samples(model, x, n_samples).softmax(dim=-1).mean(dim=0)
