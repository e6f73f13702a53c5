"""Checks of the exercises on the Bayesian view."""

import copy
import itertools
import math
from functools import cached_property, partial

import numpy as np
from scipy.special import entr, logsumexp, softmax, xlogy

from lib.checks.engine import Array, Missed, Number, exercise, refuse, summary_of, varied
from lib.checks.traits import coins, torch_seeded
from lib.masks import all_masks

summary = summary_of("bayesian")


# A table reads best with one idea in one block.
# fmt: off

# How wide is the prediction?


def variance_cases(data):
    def draw(n_samples, n):
        samples = data.normal(size=(n_samples, n)) * data.uniform(0.5, 2, n)
        return samples + 2 + data.normal(size=n)

    samples, again = draw(6, 4), draw(6, 4)
    pairs = [(samples, 3.0), (samples, 0.4), (again, 0.4), (draw(5, 1), 2.5), (draw(1, 3), 0.7),
             (draw(3, 5) + 20, 1.0)]
    return [{"samples": each, "tau": tau} for each, tau in pairs]


@exercise(
    returns=Array(
        "The variance",
        lambda samples: samples.shape[1:],
        "There is one for each example: the variance over the samples, axis=0.",
        infinite="Is it divided by n_samples - 1, or by the spread? One sample has spread 0.",
    ),
    cases=variance_cases,
    otherwise="A target is one of the samples plus noise: add the variance of the samples, over "
    "axis 0, and the variance of the noise, 1/tau.",
    done="the samples' variance plus 1/tau.",
)
def total_variance(samples, tau, *, spread=lambda s: s.var(axis=0), noise=lambda tau, n: 1 / tau,
                   out=lambda v: v):
    """Variance of the average of Gaussians, for each example."""
    return out(spread(samples) + noise(tau, len(samples)))


wrong = total_variance.wrong
wrong("no-noise", "1/tau is forgotten: this is the variance of the samples alone, which says where "
      "the MEAN may be. A target scatters around that mean with the variance 1/tau: add it.",
      {"noise": lambda tau, n: 0})
wrong("tau-added", "tau is added. It is the precision, 1/variance: what adds up are variances, so "
      "add 1/tau.", {"noise": lambda tau, n: tau})
wrong("deviation-of-noise", "The standard deviation of the noise is added, 1/sqrt(tau). Its "
      "variance is 1/tau.", {"noise": lambda tau, n: tau**-0.5})
wrong("noise-misread", "What is added for the noise is another power of tau. tau is the precision, "
      "one over the variance: add 1/tau as it is.", *varied("noise", lambda tau, n: tau**-2,
      lambda tau, n: tau**0.5, lambda tau, n: tau**2, lambda tau, n: 0.5 / tau))
wrong("noise-averaged", "The noise is divided or multiplied by the number of samples. A new target "
      "has noise of its own, once: add 1/tau.", *varied("noise", lambda tau, n: 1 / (n * tau),
      lambda tau, n: n / tau))
wrong("noise-subtracted", "1/tau is subtracted. The noise adds to the variance.",
      {"noise": lambda tau, n: -1 / tau})
wrong("tau-ignored", "1 is added, as for a noise of variance 1. The noise has the variance 1/tau.",
      {"noise": lambda tau, n: 1})
wrong("deviation", "A standard deviation stands for the samples' variance. Variances add up, "
      "deviations do not.", *varied("spread", lambda s: s.std(axis=0),
      lambda s: s.std(axis=0, ddof=1)))
wrong("ddof", "The squares are divided by n_samples - 1 (ddof=1). The prediction is the average of "
      "exactly these Gaussians, so divide by n_samples.",
      *varied("spread", lambda s: s.var(axis=0, ddof=1),
      lambda s: np.square(s - s.mean(axis=0)).sum(axis=0) / max(len(s) - 1, 1)))
wrong("mean-not-off", "The square of the mean is not taken off. The variance of the samples is the "
      "mean of their squares LESS the square of their mean.",
      {"spread": lambda s: np.square(s).mean(axis=0)})
wrong("of-the-mean", "The variance of the samples is divided by their number. That is how well "
      "their mean is known; each sample is a hypothesis, and their spread does not shrink with "
      "more.", *varied("spread", lambda s: s.var(axis=0) / len(s),
      lambda s: s.var(axis=0, ddof=1) / len(s), lambda s: s.std(axis=0) / len(s) ** 0.5),
      lambda samples, tau: (samples.var(axis=0) + 1 / tau) / len(samples))
wrong("summed", "The squares are summed. Divide by the number of samples.",
      {"spread": lambda s: s.var(axis=0) * len(s)})
wrong("all-at-once", "One number for all examples: is the variance taken over samples and examples "
      "at once? Each example has its own, over the samples: axis=0.",
      *varied("spread", lambda s: s.var(), lambda s: s.var() + 0 * s[0],
      lambda s: s.var(axis=0).mean(), lambda s: s.var(axis=0).mean() + 0 * s[0]))
wrong("no-samples", "The samples have no part in it: this is the noise alone.",
      {"spread": lambda s: 0 * s[0]})
wrong("root-taken", "The root is taken. Return the variance itself.",
      *varied("out", lambda v: np.sqrt(np.maximum(v, 0)), np.sqrt))
wrong("not-added", "Variance and noise are multiplied or divided. Independent variances ADD up.",
      lambda samples, tau: samples.var(axis=0) / tau,
      lambda samples, tau: samples.var(axis=0) * tau,
      lambda samples, tau: np.sqrt(samples.var(axis=0) / tau))
wrong("larger-of-two", "This is the larger of the two variances. A target has both kinds of "
      "scatter: add them.", lambda samples, tau: np.maximum(samples.var(axis=0), 1 / tau))
wrong("deviations-added", "Standard deviations are added. Independent VARIANCES add up.",
      lambda samples, tau: (samples.std(axis=0) + tau**-0.5) ** 2,
      lambda samples, tau: samples.std(axis=0) + tau**-0.5)
wrong("absolute-deviations", "This is the mean absolute distance from the mean. The variance is "
      "the mean SQUARE of it.", {"spread": lambda s: np.abs(s - s.mean(axis=0)).mean(axis=0)})
wrong("precisions-added", "Precisions are added, as when two measurements of one thing are "
      "combined. Here two kinds of scatter follow each other: their variances add up.",
      lambda samples, tau: 1 / (1 / samples.var(axis=0) + tau),
      lambda samples, tau: 1 / samples.var(axis=0) + tau)

# A posterior on a grid


def grid_cases(data):
    def steps(low, high, shape):  # multiples of 1/64: sums are exact in single precision, far off
        return data.integers(low * 64, high * 64, shape) / 64

    def case(likelihood, prior):
        return {"log_likelihood": likelihood, "log_prior": prior}

    near, prior = steps(-4, 0, (4, 5)), steps(-3, 1, (4, 5))
    row = steps(-3, 0, 6)
    apart = np.array([0.0, -3000, -2990, -4995, -4992, -5001])  # the likelihood's best, alone
    return [
        case(near, prior),
        case(near, steps(-3, 1, (4, 5))),
        *(case(steps(-4, 0, (4, 5)), prior) for _ in range(3)),
        *(case(steps(-4, 0, shape), steps(-3, 1, shape)) for shape in (7, (2, 3, 2), 1)),
        case(np.array([-1.0, -2, 0]), np.array([-0.5, -0.5, -np.inf])),  # the last is excluded
        case(row - 2000, -row / 2),
        case(row + 2000, -row / 2),
        case(apart - 2000, np.where(apart == 0, -9000.0, -1.0)),
    ]


def of_all(weights):
    return weights / weights.sum()


@exercise(
    returns=Array(
        "The posterior",
        lambda log_likelihood: log_likelihood.shape,
        "One probability for each point of the grid.",
        infinite="np.exp(-2000) is 0 and np.exp(2000) is infinite in the computer. Stay in "
        "logarithms: subtract the largest entry of log_likelihood + log_prior BEFORE np.exp.",
    ),
    cases=grid_cases,
    otherwise="The posterior is proportional to exp(log_likelihood + log_prior), and sums to 1.",
    rtol=2e-4,
    done="likelihood times prior, normalised, far from 1 too.",
)
def grid_posterior(log_likelihood, log_prior, *, joint=lambda a, b: a + b,
                   weights=lambda c: np.exp(c - c.max()), normalise=of_all,
                   out=lambda p: p):
    """Posterior probabilities of the hypotheses on a grid."""
    return out(normalise(weights(joint(log_likelihood, log_prior))))


def raw(log_joint):
    return log_joint


wrong = grid_posterior.wrong
wrong("no-prior", "The prior is forgotten: this is the likelihood, normalised. The posterior is "
      "the likelihood TIMES the prior, so add their logarithms first.", {"joint": lambda a, b: a},
      {"joint": lambda a, b: a, "weights": np.exp, "normalise": raw})
wrong("only-prior", "This is the prior, normalised: the data has no part in it.",
      {"joint": lambda a, b: b}, {"joint": lambda a, b: b, "weights": np.exp, "normalise": raw})
wrong("logarithm", "These are logarithms. Take np.exp of them, and divide by the sum: the function "
      "returns the probabilities themselves.", *varied("out", np.log, lambda p: np.log(p + 1e-300)),
      {"joint": lambda a, b: a + b - logsumexp(a + b), "weights": raw, "normalise": raw},
      {"weights": raw, "normalise": raw}, {"weights": raw},
      {"weights": lambda c: c - c.max(), "normalise": raw})
wrong("not-normalised", "The shape of the posterior is right, but the probabilities do not sum to "
      "1. Divide by their sum: the points of the grid are all the hypotheses there are.",
      *varied("normalise", raw, lambda w: w / w.size, lambda w: w / w.mean(), lambda w: w / w.max(),
      lambda w: w / np.linalg.norm(w)), lambda a, b: softmax(a) * softmax(b),
      lambda a, b: softmax(a) * np.exp(b))
wrong("by-row", "Rows or columns are normalised one by one. The whole grid is one set of "
      "hypotheses: all its probabilities together sum to 1.",
      *({"normalise": lambda w, axis=axis: w / w.sum(axis, keepdims=True)} for axis in (0, -1)),
      lambda a, b: softmax(a + b, axis=0), lambda a, b: softmax(a + b, axis=-1))
wrong("divided-by-prior", "The likelihood is DIVIDED by the prior. They are multiplied, so their "
      "logarithms add up.", {"joint": lambda a, b: a - b})
wrong("logarithms-multiplied", "The logarithms are multiplied. Multiplying the likelihood by the "
      "prior means ADDING their logarithms.", {"joint": lambda a, b: a * b})
wrong("prior-not-log", "The logarithm of one is combined with the other itself. Add the two "
      "logarithms as they are given.", *varied("joint", lambda a, b: a + np.exp(b),
      lambda a, b: a + np.log(b), lambda a, b: a * np.exp(b), lambda a, b: np.exp(a) + b))
wrong("added", "Likelihood and prior are added. They must be multiplied: add their LOGARITHMS.",
      {"joint": np.logaddexp}, lambda a, b: of_all(np.exp(a) + np.exp(b)),
      lambda a, b: np.exp(a) + np.exp(b),
      lambda a, b: of_all(np.exp(a - a.max()) + np.exp(b - b.max())),
      lambda a, b: softmax(a) + softmax(b), lambda a, b: (softmax(a) + softmax(b)) / 2)
wrong("sign", "The sign is turned: the likelier a hypothesis, the less it gets here.",
      *varied("joint", lambda a, b: -a - b, lambda a, b: b - a))
wrong("tempered", "Likelihood or prior has a weight of its own, such as 2 or 1/2. Multiply them "
      "once: log_likelihood + log_prior.", *varied("joint", lambda a, b: a + 2 * b,
      lambda a, b: 2 * a + b, lambda a, b: (a + b) / 2, lambda a, b: 2 * (a + b),
      lambda a, b: a + b / 2))
wrong("another-base", "The logarithms are natural ones: undo them with np.exp, not with powers of "
      "2 or 10.", *varied("weights", lambda c: 2 ** (c - c.max()), lambda c: 10 ** (c - c.max()),
      lambda c: 2**c, lambda c: 10**c))
wrong("best-only", "All the probability is at the best point. That is the search for one "
      "hypothesis; the posterior keeps all of them, each with its weight.",
      {"out": lambda p: np.eye(p.size)[p.argmax()].reshape(p.shape)})
wrong("zero-prior", "Where the prior is 0, so log_prior -inf, the posterior must be 0, and the "
      "others must be as if that point were not there.",
      *varied("joint", lambda a, b: np.where(np.isinf(b), a, a + b),
      lambda a, b: a + np.maximum(b, -10), lambda a, b: a + np.maximum(b, -20)))
wrong("constant-not-largest", "The constant that is taken off must make the LARGEST product of "
      "likelihood and prior 1. Yours is another one, so some numbers overflow, or all of them "
      "vanish. Subtract (log_likelihood + log_prior).max() before np.exp.",
      lambda a, b: of_all(np.exp(a - a.max()) * np.exp(b)),
      lambda a, b: of_all(np.exp(a - a.max()) * np.exp(b - b.max())),
      lambda a, b: of_all(softmax(a) * np.exp(b)), lambda a, b: of_all(softmax(a) * softmax(b)),
      *({"weights": lambda c, by=by: np.exp(c - by(c))} for by in (np.mean, np.median, np.min)))
wrong("divided-by-largest", "The logarithms are divided by a number, or shifted and scaled. "
      "Multiplying all weights by one number means SUBTRACTING one number from all logarithms: the "
      "largest.", *varied("weights", lambda c: np.exp(c / np.abs(c).max()),
      lambda c: np.exp(c / c.max()), lambda c: np.exp((c - c.min()) / (c.max() - c.min())),
      lambda c: (c - c.min()) / (c.max() - c.min()), lambda c: np.exp((c - c.max()) / c.size)))
wrong("underflow-covered-up", "Far from 0 the posterior is wrong: underflow is covered up, by "
      "clipping or by a small number. Subtract the largest entry of log_likelihood + log_prior "
      "before np.exp instead.", lambda a, b: np.nan_to_num(of_all(np.exp(a + b))),
      lambda a, b: of_all(np.nan_to_num(np.exp(a + b))),
      lambda a, b: of_all(np.exp(np.maximum(a, -700)) * np.exp(np.maximum(b, -700))),
      *(lambda a, b, e=e: of_all(np.exp(a + b) + e) for e in (1e-300, 1e-16, 1e-12, 1e-10, 1e-8)),
      *(lambda a, b, e=e: np.exp(a + b) / (np.exp(a + b).sum() + e)
        for e in (1e-300, 1e-16, 1e-15, 1e-12, 1e-10, 1e-9, 1e-8)),
      *(lambda a, b, e=e: of_all(np.exp(np.clip(a + b, -e, e))) for e in (500, 700, 709)),
      *(lambda a, b, e=e: softmax(np.clip(a + b, -e, e)) for e in (100, 500, 700, 709, 1000)),
      *(lambda a, b, e=e, top=top: softmax(np.clip(a, -e, top) + np.clip(b, -e, top))
        for e in (100, 300, 500, 700, 709, 745, 1000) for top in (e, None)))
wrong("naive", "np.exp(-2000) is 0 in the computer and np.exp(2000) is infinite, so that 0 is "
      "divided by 0. Stay in logarithms: subtract the largest entry of log_likelihood + log_prior "
      "BEFORE np.exp. The normalisation takes any constant out again.", {"weights": np.exp})

# How likely are the targets?


def likelihood_cases(data):
    def case(samples, targets, tau):
        return {"samples": samples, "targets": targets, "tau": tau}

    targets = data.normal(size=4)
    samples = targets + data.normal(size=(6, 4))
    return [
        case(samples, targets, 3.0),
        case(samples, targets, 0.4),
        case(samples, data.normal(size=4), 0.4),
        case(data.normal(size=(6, 4)), targets, 0.4),
        *(case(data.normal(size=(n, m)), data.normal(size=m), 2.5) for n, m in ((1, 3), (5, 1))),
        case(np.array([[0.0, 1], [1, 0]]), np.array([300.0, -90]), 2.0),  # far from all samples
    ]


@exercise(
    returns=Array(
        "The log-likelihood",
        lambda targets: targets.shape,
        "There is one for each target: the average is over the samples alone.",
        infinite="A target far from all samples has a density that np.exp rounds to 0, and log(0) "
        "is -inf. Stay in logarithms: logsumexp over the samples of the log-densities.",
    ),
    cases=likelihood_cases,
    otherwise="Each sample gives a Gaussian of variance 1/tau: average their densities, then take "
    "the logarithm: by logsumexp, for targets far away.",
    done="densities averaged, precision tau, far targets too.",
)
def predictive_log_likelihood(
    samples, targets, tau, *, precision=lambda tau: tau, inside=lambda tau: tau, half=0.5,
    square=np.square, constant=1.0, root=1.0, average=lambda d: logsumexp(d, 0) - math.log(len(d)),
    out=lambda value: value,
):
    """Log-likelihood of targets under the average of Gaussians."""
    tau = precision(tau)
    scale = root / 2 * math.log(tau) - constant / 2 * math.log(2 * math.pi)
    return out(average(scale - half * inside(tau) * square(targets - samples)))


likelihood = predictive_log_likelihood
wrong = likelihood.wrong
wrong("mean-of-logs", "The log-densities are averaged. The prediction is an average of DENSITIES: "
      "take the logarithm of their mean, logsumexp less log(n_samples).",
      *varied("average", lambda d: d.mean(axis=0), lambda d: np.log(np.exp(d)).mean(axis=0)))
wrong("tau-is-variance", "tau is taken for the variance. It is the precision: the variance is "
      "1/tau.", {"precision": lambda tau: 1 / tau})
wrong("tau-is-deviation", "tau or 1/tau is taken for the standard deviation. tau is the precision: "
      "the variance is 1/tau, and the standard deviation 1/sqrt(tau).",
      *varied("precision", lambda tau: tau**-2, lambda tau: tau**2))
wrong("tau-ignored", "tau has no part in it: this is the density for a noise of variance 1. The "
      "noise has the variance 1/tau.", {"precision": lambda tau: 1.0})
wrong("exponent", "The exponent is another one. It is -tau/2 (y - f)^2, with tau itself, the 1/2, "
      "the minus and the square: the smaller the noise, the more a miss costs.",
      *varied("inside", lambda tau: 1.0, lambda tau: 1 / tau, lambda tau: tau**2, math.sqrt),
      *varied("half", 1.0, -0.5, 0.0, 0.25), *varied("square", np.abs, lambda d: d))
wrong("constant", "The constant of the Gaussian is another one: it is -1/2 log(2 pi). Without it a "
      "density does not integrate to 1.",
      *({"constant": constant} for constant in (0.0, 2.0, -1.0)),
      {"constant": math.log(math.pi) / math.log(2 * math.pi)})
wrong("normalisation", "The normalisation needs PLUS 1/2 log(tau): the density is sqrt(tau / (2 "
      "pi)) times the exponential, so a small noise earns something for being small.",
      *({"root": root} for root in (0.0, 2.0, -1.0, -2.0)), {"root": 0.0, "constant": 0.0})
wrong("summed", "The densities are summed, not averaged: subtract log(n_samples).",
      {"average": lambda d: logsumexp(d, axis=0)})
wrong("log-of-sum-divided", "The logarithm is divided, or log(n_samples) is halved or taken twice. "
      "Divide the SUM of the densities by n_samples: subtract log(n_samples) from its logarithm, "
      "once.", *varied("average", lambda d: logsumexp(d, axis=0) / len(d),
      lambda d: logsumexp(d, axis=0) - math.log(len(d)) / 2,
      lambda d: logsumexp(d, axis=0) - 2 * math.log(len(d)),
      lambda d: logsumexp(d, axis=0) - len(d), lambda d: logsumexp(d, axis=0) + math.log(len(d))))
wrong("multiplied", "The log-densities are summed over the samples, which multiplies densities. "
      "The prediction is their average.", *varied("average", lambda d: d.sum(axis=0),
      lambda d: d.sum(axis=0) - math.log(len(d))))
wrong("no-logarithm", "This is the average density itself. Take its logarithm.",
      *varied("average", lambda d: np.exp(d).mean(axis=0), lambda d: np.exp(d).sum(axis=0)))
wrong("number-of-targets", "log(n), of the number of targets, is subtracted. The mean is over the "
      "samples: subtract log(n_samples).",
      *varied("average", lambda d: logsumexp(d, axis=0) - math.log(d.shape[1]),
      lambda d: logsumexp(d, axis=0) - math.log(d.size)))
wrong("one-sample", "This is the density of a single sample: the best one, or the first. Average "
      "over all of them.", *varied("average", lambda d: d.max(axis=0), lambda d: d[0],
      lambda d: d[-1], lambda d: np.median(d, axis=0)))
wrong("one-number", "There is one log-likelihood for each target: average over the samples, axis "
      "0, and leave the targets apart.",
      *({"out": out} for out in (np.mean, np.sum, lambda v: v.mean() + 0 * v)),
      *varied("average", lambda d: logsumexp(d), lambda d: logsumexp(d) - math.log(len(d)),
      lambda d: logsumexp(d) - math.log(d.size)))
wrong("sign", "The sign is turned: this is minus the log-likelihood.", {"out": np.negative})
wrong("another-base", "Take the natural logarithm, np.log: the answer is in nats.",
      *varied("out", lambda value: value / math.log(2), lambda value: value / math.log(10)))
wrong("plug-in", "This is the density at the mean of the samples, for one Gaussian around it. It "
      "forgets that the samples differ: average the densities of all samples.",
      lambda s, y, tau: likelihood.right(s.mean(axis=0, keepdims=True), y, tau),
      lambda s, y, tau: likelihood.right(np.median(s, axis=0, keepdims=True), y, tau))


def moments(s, y, tau, noise=1, ddof=0):
    spread = s.var(axis=0, ddof=ddof) + noise / tau
    return np.log(1 / (2 * np.pi * spread)) / 2 - (y - s.mean(axis=0)) ** 2 / (2 * spread)


wrong("moments", "This is one Gaussian with the mean and variance of the prediction. The "
      "prediction is a mixture of Gaussians, one around each sample: average their densities.",
      moments, partial(moments, ddof=1), partial(moments, noise=0),
      partial(moments, noise=0, ddof=1))
wrong("largest-not-back", "The largest log-density is taken out before np.exp, which is right, but "
      "one for each target: the largest over axis 0, and it must be added again after the "
      "logarithm.", *varied("average", lambda d: np.log(np.exp(d - d.max(axis=0)).mean(axis=0)),
      lambda d: np.log(np.exp(d - d.max(axis=0)).sum(axis=0))))
PADS = (2.2250738585072014e-308, 2.220446049250313e-16, 1e-15,
        *(10.0**-k for k in (323, 308, 300, 200, 100, 50, 30, 20, 16, 12, 10, 9, 8, 7, 6, 5, 4, 3)))
wrong("underflow-covered-up", "Far from all samples the log-likelihood is off: something small is "
      "added before the logarithm, or it is clipped. Use logsumexp, which stays in logarithms.",
      *(partial(likelihood.right, average=lambda d, e=e, pad=pad: np.log(pad(np.exp(d).mean(0), e)))
        for e in PADS for pad in (np.add, np.maximum)),
      *varied("average", lambda d: np.nan_to_num(np.log(np.exp(d).mean(axis=0))),
      lambda d: np.nan_to_num(np.log(np.exp(d).mean(axis=0)), neginf=0)),
      *(partial(likelihood.right, average=lambda d, e=e: np.log(np.exp(np.maximum(d, -e)).mean(0)))
        for e in (500, 700, 745)))
wrong("naive", "A target far from all samples has a density that np.exp rounds to 0, and log(0) is "
      "-inf. Stay in logarithms: scipy.special.logsumexp over the samples of the log-densities.",
      {"average": lambda d: np.log(np.exp(d).mean(axis=0))})

# Whose doubt is it?


def split_cases(data):
    samples = data.dirichlet(np.full(4, 0.6), size=(6, 5))
    zeros = data.dirichlet(np.full(4, 0.6), size=(6, 5))
    zeros[:2, 0], zeros[2:, 0] = np.eye(4)[0], np.eye(4)[2]  # sure, and opposed
    zeros[:, 1] = np.eye(4)[3]  # sure, and of one mind
    zeros[:, 2, 0] = 0
    zeros[:, 2] /= zeros[:, 2].sum(axis=-1, keepdims=True)
    zeros[:5, 3], zeros[5, 3] = np.eye(4)[1], 1 / 4  # one is less sure than all of them together
    others = [data.dirichlet(np.ones(c), size=(t, n)) for t, n, c in ((1, 3, 2), (4, 1, 7))]
    return [{"samples": each} for each in (samples, zeros, *others)]


def entropy(p):
    return entr(p).sum(axis=-1)


EACH = "There is one number for each example: average over axis 0, and sum over the last axis."
ZEROS = ("A probability of 0 adds 0 to an entropy, and NumPy makes 0 * log(0) NaN: "
         "scipy.special.entr knows the limit, and so does xlogy.")


@exercise(
    returns=tuple(
        Array(f"The {name}", lambda samples: samples.shape[1:2], EACH, short, infinite=ZEROS)
        for name, short in (
            ("predictive entropy", "predictive"),
            ("expected entropy", "expected"),
            ("mutual information", "information"),
        )
    ),
    cases=split_cases,
    otherwise="Predictive: the entropy of the averaged probabilities. Expected: the average of the "
    "samples' entropies. Mutual information: their difference.",
    done="predictive = expected + mutual information, in nats.",
)
def decompose(samples, *, h=entropy, total=lambda s, h: h(s.mean(axis=0)),
              expected=lambda s, h: h(s).mean(axis=0), information=lambda t, e: t - e,
              order=lambda *parts: parts):
    """Predictive entropy, expected entropy and mutual information."""
    t, e = total(samples, h), expected(samples, h)
    return order(t, e, information(t, e))


def plain(p):
    return -(p * np.log(p)).sum(axis=-1)


wrong = decompose.wrong
wrong("order", "The three are in another order. Return predictive (of the mean), expected (the "
      "mean of each), information (their difference).",
      *(
          {"order": lambda *parts, order=order: tuple(parts[i] for i in order)}
          for order in itertools.permutations(range(3))
          if order != (0, 1, 2)
      ))
wrong("entropies-averaged", "The predictive entropy is the mean of the samples' entropies. Average "
      "the probabilities first, then take the entropy of that: two sure samples that disagree are "
      "unsure together.", {"total": lambda s, h: h(s).mean(axis=0)})
wrong("entropy-of-mean", "The expected entropy is that of the averaged probabilities. Take the "
      "entropy of each sample first, then their mean.",
      {"expected": lambda s, h: h(s.mean(axis=0))})
wrong("another-average", "{what} is of another average over the samples: of votes, a median, a "
      "geometric mean, the largest. Take the plain mean: of the probabilities, or of the "
      "entropies.",
      *varied("total", lambda s, h: h(np.eye(s.shape[2])[s.argmax(axis=-1)].mean(axis=0)),
      lambda s, h: 1 - np.eye(s.shape[2])[s.argmax(axis=-1)].mean(axis=0).max(axis=-1),
      lambda s, h: h(np.median(s, axis=0)), lambda s, h: h(s.max(axis=0)),
      lambda s, h: h(softmax(np.log(s + 1e-300).mean(axis=0), axis=-1))),
      *varied("expected", lambda s, h: h(s).max(axis=0), lambda s, h: np.median(h(s), axis=0)))
wrong("one-sample", "{what} is that of one sample. It belongs to all of them: average the "
      "probabilities first for the predictive entropy, the entropies for the expected one.",
      *({part: lambda s, h, i=i: h(s[i])} for i in (0, -1) for part in ("total", "expected")))
wrong("another-base", "{what} is in bits, or in another unit. Take the natural logarithm, np.log: "
      "nats.", *varied("h", lambda p: entropy(p) / math.log(2), lambda p: entropy(p) / math.log(10),
      lambda p: -(p * np.log2(p)).sum(axis=-1)),
      {"total": lambda s, h: h(s.mean(axis=0)) / math.log(2)},
      {"expected": lambda s, h: h(s).mean(axis=0) / math.log(2)},
      {"information": lambda t, e: (t - e) / math.log(2)})
wrong("divided-by-log-classes", "{what} is divided by log(classes), its largest value. Return it "
      "in nats, as it is.", {"h": lambda p: entropy(p) / math.log(p.shape[-1])})
wrong("mean-over-classes", "{what} is a mean over the classes. Sum over them.",
      *varied("h", lambda p: entr(p).mean(axis=-1), lambda p: plain(p) / p.shape[-1]))
wrong("summed-over-samples", "{what} is a sum over the samples. Take the mean of the probabilities "
      "(for the predictive one) or of the entropies (for the expected one).",
      *varied("total", lambda s, h: h(s.sum(axis=0)), lambda s, h: h(s).sum(axis=0)),
      {"expected": lambda s, h: h(s).sum(axis=0)})
wrong("sign", "{what} has its sign turned. An entropy is MINUS the sum of p log p, and the mutual "
      "information is predictive LESS expected: none of the three is ever negative.",
      *varied("h", lambda p: -entropy(p), lambda p: -plain(p)), {"information": lambda t, e: e - t})
wrong("added", "The two entropies are added. The mutual information is their difference.",
      {"information": lambda t, e: t + e})
wrong("ratio", "The mutual information is divided by an entropy. Return the difference itself, in "
      "nats.", *varied("information", lambda t, e: (t - e) / t,
      lambda t, e: np.divide(t - e, t, out=np.zeros_like(t), where=t > 0), lambda t, e: t / e,
      lambda t, e: e / t))
wrong("not-an-entropy", "{what} is another measure of doubt: 1 less the largest probability, or "
      "less the sum of squares, a variance, an entropy of each class by itself. H(p) is MINUS the "
      "sum of p log p.",
      *(
          {"h": h}
          for h in (
              lambda p: 1 - p.max(axis=-1),
              lambda p: 1 - np.square(p).sum(axis=-1),
              lambda p: -np.log(p.max(axis=-1)),
              lambda p: (entr(p) + entr(1 - p)).sum(axis=-1),
              lambda p: np.exp(entropy(p)),
              lambda p: -np.log(np.square(p).sum(axis=-1)),
          )
      ))
wrong("not-the-difference", "The mutual information must be the predictive entropy LESS the "
      "expected one. Yours is something else, such as a constant, a root, or a variance of the "
      "samples.", *varied("information", lambda t, e: 0 * t, lambda t, e: t * e,
      lambda t, e: np.sqrt(np.maximum(t - e, 0)), lambda t, e: (t - e) ** 2),
      *(
          lambda s, of=of: (*decompose.right(s)[:2], of(s.var(axis=0), axis=-1))
          for of in (np.sum, np.mean, np.max)
      ))
wrong("axes", "The axes are mixed up. The samples are axis 0, the classes the last one: average "
      "over the first, sum over the last.", lambda s: decompose.right(s.swapaxes(0, 1)),
      {"h": lambda p: entr(p).sum(axis=0)})
wrong("zeros", "Where a probability is 0 the result is NaN, or the example's whole entropy is "
      "lost: NumPy makes 0 * log(0) NaN, and its limit is 0. scipy.special.entr or xlogy knows "
      "that; so does np.where.", *varied("h", plain, lambda p: np.nan_to_num(plain(p))),
      *({"h": lambda p, e=e: -xlogy(p, p + e).sum(axis=-1)} for e in (1e-2, 1e-3, 1e-4, 1e-5)))

# Is it right as often as it says?


def reliability_cases(data):
    def probabilities(n, n_bins, n_classes=3, bins=None):
        """Confidences clear of the bins' edges, and the rest shared out."""
        bins = np.arange(n_bins // n_classes + 1, n_bins) if bins is None else bins
        sure = (data.choice(bins, n) + data.uniform(0.05, 0.95, n)) / n_bins
        rest = (1 - sure) * data.uniform(0.505, 0.54, n)
        p = np.zeros((n, n_classes))
        p[:, :3] = np.stack([sure, rest, 1 - sure - rest], axis=1)
        return data.permuted(p, axis=1)

    def case(p, n_bins):
        likely = data.random(len(p)) < 0.25
        labels = np.where(likely, p.argmax(axis=1), data.integers(0, p.shape[1], len(p)))
        return {"probabilities": p, "labels": labels, "n_bins": n_bins}

    one = case(probabilities(40, 10), 10)
    edges = np.array([[0.5, 0.3, 0.2], [0.1, 0.75, 0.15], [0.0, 0.0, 1.0], [0.05, 0.9, 0.05],
                      [0.2, 0.2, 0.6], [0.25, 0.625, 0.125]])
    return [
        one,
        one | {"labels": (one["labels"] + 1) % 3},
        one | {"n_bins": 1},
        one | {"probabilities": np.roll(one["probabilities"], 1, axis=0)},
        case(probabilities(60, 5, 4, np.array([2, 4])), 5),  # with empty bins between
        case(probabilities(30, 20), 20),
        case(probabilities(1, 10), 10),
        {"probabilities": edges, "labels": np.array([0, 2, 2, 1, 0, 1]), "n_bins": 4},
    ]


def in_bins(confidence, n_bins):
    return np.minimum((confidence * n_bins).astype(int), n_bins - 1)


EMPTY = "A bin without examples has no mean: leave 0 there, and divide only where count > 0."
BINS = "There is one entry for each bin, n_bins in all, empty bins included."


@exercise(
    returns=(
        Array("count", lambda n_bins: (n_bins,), BINS),
        Array("confidence", lambda n_bins: (n_bins,), BINS, infinite=EMPTY),
        Array("accuracy", lambda n_bins: (n_bins,), BINS, infinite=EMPTY),
        Number("The calibration error", "ece"),
    ),
    cases=reliability_cases,
    otherwise="Bin b holds the examples whose largest probability is from b/n_bins up to, and not "
    "with, (b+1)/n_bins; the last bin has 1 as well. Take means in each bin, then "
    "sum count/n * |accuracy - confidence|.",
    rtol=1e-4,
    done="binned by the answer's probability, weighted by the examples.",
)
def reliability(probabilities, labels, n_bins, *, sure=lambda p, y: p.max(axis=1),
                right=lambda p, y: p.argmax(axis=1) == y, which=in_bins, empty=0.0,
                mean=lambda total, count: total / np.maximum(count, 1),
                shown=lambda means, full, n: means, ece=lambda w, d, n: np.sum(w * np.abs(d))):
    """Count, mean confidence and accuracy of each bin, and the expected calibration error."""
    confidence = sure(probabilities, labels)
    bins = which(confidence, n_bins)
    count, conf, acc = (
        np.bincount(bins, values, minlength=n_bins)[:n_bins]
        for values in (np.ones(len(bins)), confidence, right(probabilities, labels).astype(float))
    )
    conf, acc = (np.where(count > 0, mean(each, count), empty) for each in (conf, acc))
    conf = shown(conf, count > 0, n_bins)
    return count, conf, acc, ece(count / len(labels), acc - conf, count)


def with_error(error):
    return lambda p, y, n: (*reliability.right(p, y, n)[:3], error(p, y))


def in_order(order):
    return lambda p, y, n: tuple(reliability.right(p, y, n)[i] for i in order)


wrong = reliability.wrong
wrong("true-class", "The confidence is taken of the TRUE class. It is how sure the network is of "
      "its own answer: the largest probability, whatever the label.",
      {"sure": lambda p, y: p[np.arange(len(y)), y]})
wrong("every-class", "Every class of every example is counted. Only the answer is: for each "
      "example the largest probability, and whether that class is the label.",
      lambda p, y, n: reliability.right(p.ravel(), y, n, sure=lambda p, y: p,
                                        right=lambda q, y: np.eye(p.shape[1])[y].ravel()))
wrong("another-confidence", "The confidence is the largest probability of an example, not the "
      "distance to the second, nor one of the classes, nor an entropy.",
      *varied("sure", lambda p, y: np.sort(p)[:, -1] - np.sort(p)[:, -2],
      lambda p, y: np.sort(p)[:, -2], lambda p, y: p[:, -1], lambda p, y: p[:, 0],
      lambda p, y: p.mean(axis=1), lambda p, y: 1 - entropy(p) / math.log(p.shape[1])))
wrong("errors-counted", "The wrong answers are counted, not the right ones. Accuracy is the share "
      "of right answers.", {"right": lambda p, y: p.argmax(axis=1) != y})
wrong("upper-edge", "A confidence on an edge is in the wrong bin. Bin b goes from b/n_bins up to, "
      "and not with, (b+1)/n_bins.",
      {"which": lambda c, n: np.clip(np.ceil(c * n).astype(int) - 1, 0, n - 1)})
wrong("one-lost", "An example with confidence 1 is lost, or has a bin of its own. It belongs to "
      "the last bin.", *varied("which", lambda c, n: (c * n).astype(int),
      lambda c, n: np.where(c < 1, in_bins(c, n), 0)))
wrong("rounded", "The bins are rounded to the nearest, or shifted. Bin b goes from b/n_bins up to "
      "(b+1)/n_bins: round down.",
      *varied("which", lambda c, n: np.minimum(np.round(c * n).astype(int), n - 1),
      lambda c, n: np.minimum(np.round(c * (n - 1)).astype(int), n - 1),
      lambda c, n: (c * (n - 1)).astype(int)))
wrong("range-of-data", "The bins share out the range of these confidences. They share out 0 to 1, "
      "whatever the data, so that bins of two networks can be compared.",
      *varied("which", lambda c, n: in_bins((c - c.min()) / max(np.ptp(c), 1e-12), n),
      lambda c, n: in_bins(c / c.max(), n),
      lambda c, n: np.digitize(c, np.linspace(c.min(), c.max(), n + 1)[1:-1])))
wrong("equal-counts", "Every bin has equally many examples. Here the bins are equally WIDE: some "
      "hold many.", {"which": lambda c, n: np.argsort(np.argsort(c)) * n // len(c)})
wrong("sums", "These are sums. Divide by the number of examples of the bin: confidence and "
      "accuracy are means.", {"mean": lambda total, count: total})
wrong("divided-by-all", "Divide by the number of examples OF THE BIN, not of all: confidence and "
      "accuracy are means.", {"mean": lambda total, count: total / count.sum()})
wrong("midpoint", "The confidence of a bin is the mean of the confidences in it, not its middle or "
      "edge.",
      *({"shown": lambda means, full, n, at=at, empty=empty: (full | empty)
                  * (np.arange(n) + at) / n} for at in (0, 0.5, 1) for empty in (False, True)))
wrong("empty-bin", "The entry of a bin without examples must be 0: leave it out of the division, "
      "and out of the error.", *({"empty": empty} for empty in (math.nan, 1.0, 0.5, -1.0)),
      {"empty": math.nan, "ece": lambda w, d, n: np.nansum(w * np.abs(d))})
wrong("unweighted", "The bins count alike in the calibration error. Weight each by its share of "
      "the examples, count/n: a bin with two examples must not count like one with two hundred.",
      *varied("ece", lambda w, d, n: np.abs(d).mean(), lambda w, d, n: np.abs(d).sum(),
      lambda w, d, n: np.abs(d)[n > 0].mean(), lambda w, d, n: n @ np.abs(d),
      lambda w, d, n: np.mean(n * np.abs(d)), lambda w, d, n: np.median(np.abs(d)),
      lambda w, d, n: np.mean(w * np.abs(d)), lambda w, d, n: w @ np.abs(d) / (n > 0).sum()))
wrong("signs-cancel", "The signs are kept in the calibration error, so that bins which are too "
      "sure cancel bins which are not sure enough. Take the absolute value in each bin, before the "
      "sum.", *varied("ece", lambda w, d, n: w @ d, lambda w, d, n: -w @ d,
      lambda w, d, n: abs(w @ d)))
wrong("squared", "The distances are squared in the calibration error. Take their absolute values.",
      *varied("ece", lambda w, d, n: w @ d**2, lambda w, d, n: np.sqrt(w @ d**2),
      lambda w, d, n: np.mean(d**2)))
wrong("largest", "This is the largest distance of all bins. The EXPECTED calibration error is "
      "their weighted mean.", {"ece": lambda w, d, n: np.abs(d).max()})
wrong("percent", "The calibration error is in percent. Return the share itself, between 0 and 1.",
      {"ece": lambda w, d, n: 100 * w @ np.abs(d)})
wrong("count-is-share", "count is the number of examples of a bin, not their share.",
      lambda p, y, n: (reliability.right(p, y, n)[0] / len(y), *reliability.right(p, y, n)[1:]))
wrong("order", "The four are in another order. Return count, confidence, accuracy, ece.",
      *map(in_order, ((0, 2, 1, 3), (2, 1, 0, 3), (1, 2, 0, 3), (1, 0, 2, 3))))
wrong("score", "This is a score of the predictions: their negative log-likelihood, Brier score or "
      "error. The calibration error is sum count/n * |accuracy - confidence|, over the bins.",
      *map(with_error, (
          lambda p, y: -np.mean(np.log(p[np.arange(len(y)), y] + 1e-12)),
          lambda p, y: np.mean(np.square(p - np.eye(p.shape[1])[y]).sum(axis=1)),
          lambda p, y: np.mean(p.argmax(axis=1) != y))))
wrong("each-example", "The distance is taken in each example, then averaged. First average in each "
      "bin, then take the distance of the two means: an answer alone is right or wrong, never 80 % "
      "right.", with_error(lambda p, y: np.abs((p.argmax(axis=1) == y) - p.max(axis=1)).mean()))

# What masks can make of an input


class Network:
    """A small classifier with batch norm, and all that masks of its hidden layers can make of x."""

    def __init__(self, data, keep_prob, both=True):
        import torch
        from torch import nn

        self.keep_prob = keep_prob
        self.masks = all_masks(2) if both else np.ones((1, 2)), all_masks(3)
        with torch_seeded(int(data.integers(2**31))):
            norm = nn.BatchNorm1d(2)
            self.layers = [nn.Linear(3, 2), norm, nn.Tanh(), nn.Linear(2, 3), nn.Tanh(),
                           nn.Linear(3, 4)]
            self.x = torch.randn(150, 3)
            with torch.no_grad():
                norm.running_mean.normal_(0.5, 0.5)
                norm.running_var.uniform_(0.3, 0.6)
                for layer in self.layers[3], self.layers[5]:
                    layer.weight.mul_(3)

    def logits(self, first=True, second=True, factor=None, batch=False):
        """Of each example under every pair of masks, (examples, pairs, classes)."""
        import torch

        factor = factor or 1 / self.keep_prob
        masks = [factor * m if on and len(m) > 1 else np.ones((1, m.shape[1]))
                 for on, m in zip((first, second), self.masks, strict=True)]
        below, norm, tanh, middle, _, above = copy.deepcopy(self.layers)
        with torch.no_grad():
            hidden = tanh(norm.train(batch)(below(self.x)))[:, None] * torch.Tensor(masks[0])
            hidden = tanh(middle(hidden))[:, :, None] * torch.Tensor(masks[1])
            return above(hidden).flatten(1, 2).double().numpy()

    @cached_property
    def right(self):
        """Probabilities under every pair of masks."""
        return softmax(self.logits(), axis=2)

    def weights(self):
        """Probabilities of the pairs of masks."""
        one, two = (np.where(m, self.keep_prob, 1 - self.keep_prob).prod(1) for m in self.masks)
        return (np.outer(one, two) / one.sum()).reshape(1, -1, 1)


def state_of(model):
    """Everything of a model that must stay, but the modes."""
    rates = {f"rate {i}": m.p for i, m in enumerate(model.modules()) if hasattr(m, "p")}
    grads = {f"requires_grad of {k}": v.requires_grad for k, v in model.named_parameters()}
    return {k: v.clone().numpy() for k, v in model.state_dict().items()} | rates | grads


STILL = (
    "BatchNorm must use its stored statistics, so that an example's prediction does not hang on "
    "the others beside it, and leave them as they are."
)
AVERAGE = "p(y|x) is the average of the PROBABILITIES: softmax each sample, then average."


def one_call(run, classifier, arrives, **given):
    """Probabilities from a model that must stay as it is."""
    import torch

    before, modes = state_of(classifier), [m.training for m in classifier.modules()]
    gradients, (n_rows, n) = torch.is_grad_enabled(), (len(given["x"]), given["n_samples"])
    try:
        result = run(**given, raw=True)
        kept_on = torch.is_grad_enabled() == gradients
    finally:
        torch.set_grad_enabled(gradients)
    changed = [k for k, v in state_of(classifier).items() if not np.array_equal(v, before[k])]
    if any("running" in k or "num_batches" in k for k in changed):
        moved = f"The model came {arrives}, and the stored statistics of BatchNorm have changed. "
        refuse(not any(modes), "whole-model-in-training",
               f"{moved}Was the whole model put into training mode? {STILL}")
        refuse(True, "batch-statistics",
               f"{moved}{STILL} In whatever mode the model comes, call model.eval() first.")
    refuse(changed, "changes-model", f"Your function changed the model: {', '.join(changed[:3])}.")
    refuse(not isinstance(result, torch.Tensor), "no-tensor",
           f"Return a torch tensor; yours is of type {type(result).__name__}.")
    shape = tuple(result.shape)
    refuse(shape == (n, n_rows, 4), "not-averaged",
           f"The samples are returned one by one, shape {shape}. Average them: mean(dim=0).")
    refuse(shape != (n_rows, 4), "shape",
           f"For {n_rows} examples, 4 classes and n_samples={n} the result must have shape "
           f"{(n_rows, 4)}, yours has {shape}. The average is over the samples alone.")
    refuse(result.dtype not in (torch.float32, torch.float64), "no-numbers",
           f"The result must hold probabilities in float32 or float64, not {result.dtype}.")
    p = result.detach().double().numpy()
    refuse(not np.isfinite(p).all(), "not-finite",
           f"With n_samples={n} the result has entries that are NaN or infinite. Is the number of "
           "passes another?")
    refuse(result.requires_grad, "gradient-kept",
           "The result carries a gradient: torch keeps what is needed for one, for every sample. "
           "Prediction needs none: compute under `with torch.no_grad():`.")
    refuse(not kept_on, "gradients-off",
           "Gradients are switched off for good after your function. Use `with torch.no_grad():`, "
           "which ends with its block.")
    refuse([m.training for m in classifier.modules()] != modes, "modes-not-restored",
           f"The model came {arrives}, and not every layer left as it came. Note the flag "
           "`training` of EACH module first, and set it back at the end.")
    return p


def among(values, outcomes):
    """Which of its possible outcomes each example has; None if one has none of them."""
    apart = np.abs(values[:, None] - outcomes).max(axis=2)
    return apart.argmin(axis=1) if (apart.min(axis=1) < 1e-4).all() else None


def first_sample(one, net):
    """Masks of a single sample; or say what it is, if not the probabilities under one mask."""
    which = among(one, net.right)
    if which is not None:
        return net.masks[1][which % 8] == 1
    one_off = [net.logits(first=False), net.logits(second=False)]
    batch, sums = net.logits(batch=True), one.sum(axis=1)
    for name, outcomes, sentence in (
        ("dropout-off", net.logits(first=False, second=False),
         "Dropout was off: every sample is the same, the single pass with all units. Switch on "
         "each dropout layer, nested ones too (model.modules() finds them), or F.dropout itself."),
        ("dropout-partly-off", np.concatenate(one_off, axis=1),
         "One of the dropout layers was off. They may be nested: model.modules() finds them all."),
        ("batch-statistics", batch, f"BatchNorm used the statistics of the batch. {STILL}"),
        ("drop-for-keep", net.logits(factor=1 / (1 - net.keep_prob)),
         "The units are kept with 1 - keep_prob, or scaled so. torch asks for the probability to "
         "DROP a unit: F.dropout(h, 1 - keep_prob)."),
        ("always-half", net.logits(factor=2),
         "Kept units are doubled: is a rate of 1/2 built in? They are divided by keep_prob."),
        ("no-scale", np.concatenate([net.logits(factor=1), net.logits(factor=net.keep_prob)], 1),
         "Kept units are not divided by keep_prob. F.dropout does that: prediction has the scale "
         "of training."),
    ):
        refuse(among(one, softmax(outcomes, axis=2)) is not None, name, sentence)
    refuse(among(one, net.logits()) is not None or among(one, batch) is not None, "logits",
           "The outputs are logits. The model returns logits: apply softmax(dim=-1) to each "
           "sample, then average.")
    refuse(among(one, np.log(net.right)) is not None, "log-probabilities",
           "The outputs are logarithms of probabilities. Average the probabilities themselves: "
           "softmax, not log_softmax.")
    refuse(among(one, softmax(net.right, axis=2)) is not None, "softmax-twice",
           f"softmax is taken twice, before the average and after it. {AVERAGE}")
    off = not np.allclose(sums, 1, atol=1e-4)
    refuse(off and np.allclose(one.sum(axis=0), 1, atol=1e-4), "softmax-over-examples",
           "The softmax runs over the examples: what sums to 1 is a column. Take softmax(dim=-1), "
           "over the classes.")
    refuse(off, "no-probabilities",
           f"With n_samples=1 the probabilities of an example sum to {sums[0]:.4g}, not to 1. Is "
           "each sample a softmax over the classes, and their sum divided by n_samples?")
    refuse(np.isin(one, (0, 1)).all(), "votes",
           f"These are votes: each sample counts for its likeliest class alone. {AVERAGE}")
    raise Missed(
        "With n_samples=1 each example must get the softmax of its logits under one mask. Yours is "
        "something else: are there more samples than n_samples, or is the mask one of your own?",
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
    refuse(among(two, 2 * mean(p)) is not None, "summed",
           "The samples are summed: with n_samples=2 the probabilities of an example sum to 2. "
           "Divide by n_samples.")
    refuse(among(two, softmax(mean(z), axis=2)) is not None, "logits-averaged",
           "The logits (or their logarithms) were averaged before the softmax. That is a geometric "
           f"mean. {AVERAGE}")
    refuse(among(two, np.exp(mean(np.log(p)))) is not None, "logs-averaged",
           "Log-probabilities were averaged, and then np.exp taken: a geometric mean, which does "
           f"not even sum to 1. {AVERAGE}")
    raise Missed(
        "One sample is right, but with n_samples=2 the result is not the average of the "
        f"probabilities under two masks. {AVERAGE}", "average")


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
    refuse(spread < 0.68, "opposite-samples",
           "Samples come in pairs whose masks are opposite. All masks must be independent.")
    exact = (net.weights() * net.right).sum(axis=1)
    variance = (net.weights() * (net.right - exact[:, None]) ** 2).sum() / 40
    ratio = ((many - exact) ** 2).sum() / variance
    refuse(ratio > 2, "fewer-samples",
           f"With n_samples=40 the result is as far from its mean as with {40 / ratio:.0f} "
           "samples: are all n_samples drawn, each with masks of its own, and does each "
           "count the same?")
    refuse(ratio < 0.5, "more-samples",
           "With n_samples=40 the result is nearer to its mean than 40 independent samples come: "
           "are there more samples than n_samples, or masks that know of each other?")

# Repair this script


def repaired_traits(run, data):
    from torch import nn

    for keep_prob in (0.8, 0.35):
        net = Network(data, keep_prob, both=False)
        model = nn.Module()
        model.hidden, model.output = nn.Sequential(*net.layers[:5]), net.layers[5]
        model.eval()
        call = partial(one_call, run, model, "in eval mode", net=model, x=net.x)
        sampling_traits(
            lambda n, call=call, keep=keep_prob: call(keep_prob=keep, n_samples=n), net)
    return ()


@exercise(
    returns=Array("The result", lambda x: (len(x), 4)),
    traits=repaired_traits,
    done="batch norm left alone, masks fresh and at the right rate, probabilities averaged.",
)
def mc_repaired(net, x, keep_prob, n_samples):
    """Average the class probabilities over masks of the hidden units."""
    import torch
    from torch.nn import functional

    with torch.no_grad():
        hidden = net.hidden(x).expand(n_samples, -1, -1)
        return net.output(functional.dropout(hidden, 1 - keep_prob)).softmax(dim=-1).mean(dim=0)

# Masks on, statistics still

ARRIVALS = (("in eval mode", 1), ("in training mode", 0), ("with BatchNorm frozen", 2),
            ("with all but Dropout in training", 3))


def predict_traits(run, data):
    from torch import nn

    for arrives, depth in ARRIVALS:
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
