"""Checks of the exercises on variants: DropConnect, fast, variational and recurrent dropout."""

import itertools
import math
from functools import partial

import numpy as np
from scipy import stats
from scipy.special import erf, expit, ndtr, softmax

from lib.checks import engine
from lib.checks.engine import Array, Finding, Number, close, exercise, found
from lib.checks.traits import (
    BY_SHARE,
    FACTORS,
    SCALES,
    SIGMAS,
    coins,
    factor_name,
    fresh,
    independent,
)
from lib.masks import all_masks
from lib.theory.variational import MOLCHANOV

summary = engine.summary_of("variants")


def scaled(value, keep_prob, what):
    """By what the kept ones are multiplied; None if by no one number."""
    name = factor_name(value, keep_prob)
    by_share = name is None and (value is None or abs(value * keep_prob - 1) < 0.15)
    yield from found(by_share, "by-share", BY_SHARE)
    if name != "1/keep_prob":
        other = f"multiplied by {value:.4g}, with keep_prob={keep_prob:g}: divide by keep_prob."
        label, text = SCALES.get(name, ("other-factor", f"{{what}} kept are {other}"))
        yield Finding(label, text.format(what=f"The {what} that are", p="keep_prob"))


def looked_up(sentences):
    """A `found` that has its sentences by their names."""
    return lambda off, name, **asked: found(off, name, sentences[name].format(**asked))


def known(check, yours, **case):
    """The wrong answers of a table whose outputs are these."""
    for wrong in check.table:
        if close(yours, check._run(wrong.answer, case, raw=True), 1e-4):
            yield Finding(wrong.name, wrong.sentence)
            return


def bent(yours, z):
    """Whether outputs are a function of z that rises, and no straight line: an activation."""
    order = np.argsort(z, axis=None)
    y, z = yours.flat[order], z.flat[order]
    line = np.polynomial.Polynomial.fit(z, y, 1)(z)
    return np.ptp(y) > 1e-6 and (np.diff(y) > -1e-6).all() and not close(y, line, 1e-4)


# The moments of a rectified Gaussian

ROOT = math.sqrt(2 * math.pi)


def rectified_cases(data):
    def mean(shape):
        return data.uniform(-2, 3, shape)

    def variance(shape):
        return data.uniform(0.3, 5, shape)

    one, other = mean(8), variance(8)
    pairs = [(one, other), (mean(8), other), (one, variance(8)), (mean((3, 4)), variance((3, 4)))]
    edge = [(mean(1), variance(1)), (np.array([2.0, -3, 0, 1.5]), np.array([0.0, 0, 0, 1])),
            (np.zeros((2, 1)), np.array([[4.0], [0]]))]  # fmt: skip
    return [[{"mean": m, "variance": v} for m, v in some] for some in (pairs, edge)]


@exercise(
    returns=(
        Array("The mean", lambda mean: mean.shape, "One for each entry of the arrays.", "mean"),
        Array("The variance", lambda mean: mean.shape, "One for each entry of the arrays.",
              "variance"),
    ),
    cases=rectified_cases,
    otherwise="Phi and phi are those of the standard Gaussian at mean / s, with s the root of the "
    "variance. A variance is the mean square minus the squared mean. Where s is 0 the two are "
    "max(0, mean) and 0.",
    done="mean and variance of a rectified Gaussian, variance 0 too.",
)  # fmt: skip
def fast_relu(
    mean, variance, *, s=np.sqrt, Phi=ndtr, phi=lambda a: np.exp(-(a**2) / 2) / ROOT,
    P_at=lambda mu, s: mu / s, p_at=lambda mu, s: mu / s,
    first=lambda mu, s, P, p: mu * P + s * p,
    square=lambda mu, s, P, p: (mu**2 + s**2) * P + mu * s * p,
    spread=lambda m, q, mu, s, P: q - m**2, safe=lambda s: np.where(s > 0, s, 1),
    zero=lambda mu, m, v: (np.maximum(mu, 0), 0 * mu),
):  # fmt: skip
    """Mean and variance of max(0, z), for z ~ N(mean, variance)."""
    s = s(variance)
    P, p = Phi(P_at(mean, safe(s))), phi(p_at(mean, safe(s)))
    m = first(mean, s, P, p)
    v = spread(m, square(mean, s, P, p), mean, s, P)
    return tuple(np.where(s > 0, *each) for each in zip((m, v), zero(mean, m, v), strict=True))


# fmt: off
wrong = fast_relu.wrong
wrong("wrong-way-round", "The two are the wrong way round: return the mean first, then the "
      "variance.", lambda mean, variance: fast_relu.right(mean, variance)[::-1])
wrong("variance-for-deviation", "The variance is taken for the standard deviation. s is the root "
      "of the variance, and the formulas take mean / s.", {"s": lambda v: v},
      {"s": lambda v: v / 2}, {"s": np.square},
      {"P_at": lambda mu, s: mu / s**2, "p_at": lambda mu, s: mu / s**2},
      {"P_at": lambda mu, s: mu / s**2}, {"p_at": lambda mu, s: mu / s**2})
wrong("taken-at-mean", "Phi or phi is not taken at mean / s. They are those of the STANDARD "
      "Gaussian: take both there.", {"P_at": lambda mu, s: mu, "p_at": lambda mu, s: mu},
      {"P_at": lambda mu, s: mu}, {"p_at": lambda mu, s: mu}, {"p_at": lambda mu, s: mu - s},
      {"P_at": lambda mu, s: mu - s, "p_at": lambda mu, s: mu - s},
      {"P_at": lambda mu, s: s / mu, "p_at": lambda mu, s: s / mu},
      {"P_at": lambda mu, s: mu * s, "p_at": lambda mu, s: mu * s})
wrong("other-density", "phi is the density of the standard Gaussian, exp(-a^2 / 2) / sqrt(2 pi). "
      "Yours is another.", {"phi": lambda a: np.exp(-(a**2) / 2)},
      {"phi": lambda a: np.exp(-(a**2)) / ROOT}, {"phi": lambda a: np.exp(-(a**2) / 2) / ROOT**2},
      {"phi": lambda a: np.exp(-a / 2) / ROOT}, {"phi": lambda a: np.exp(a**2 / 2) / ROOT},
      {"phi": lambda a: np.exp(-(a**2) / 2) / math.sqrt(math.pi)})
wrong("other-cdf", "Phi is the distribution function of the standard Gaussian, ndtr. Yours is "
      "another.", {"Phi": erf}, {"Phi": lambda a: erf(a / math.sqrt(2))},
      {"Phi": lambda a: (1 + erf(a)) / 2}, {"Phi": expit}, {"Phi": lambda a: expit(1.702 * a)},
      {"Phi": lambda a: a > 0})
wrong("small-added", "Something small is added to s or to the variance, and it changes the "
      "results. Divide by np.where(s > 0, s, 1) instead.",
      *(lambda mean, variance, m=m, s=s: fast_relu.right(mean, variance, s=lambda v: s(v, m))
        for m in (0.1, 0.01, 1e-3, 1e-4)
        for s in (lambda v, m: np.sqrt(v + m), lambda v, m: np.sqrt(v) + m)))
wrong("cdf-for-density", "The distribution function and the density stand in each other's place: "
      "it is mean * Phi + s * phi.", {"first": lambda mu, s, P, p: mu * p + s * P},
      {"first": lambda mu, s, P, p: mu * p + P})
wrong("density-lacks-s", "The density lacks its factor s: mean * Phi + s * phi, with phi the "
      "STANDARD density at mean / s. (The density of N(mean, s^2) at 0 has a 1/s in it.)",
      {"first": lambda mu, s, P, p: mu * P + p}, {"first": lambda mu, s, P, p: mu * P + p / s})
wrong("density-times-variance", "The density is multiplied by the variance. Its factor is s, the "
      "standard deviation.", {"first": lambda mu, s, P, p: mu * P + s**2 * p})
wrong("no-density", "The part s * phi(mean / s) is missing. A Gaussian above 0 is above its own "
      "mean on average.", {"first": lambda mu, s, P, p: mu * P})
wrong("no-cdf", "The part mean * Phi(mean / s) is missing.", {"first": lambda mu, s, P, p: s * p})
wrong("density-subtracted", "The sign of s * phi is turned: it is added.",
      {"first": lambda mu, s, P, p: mu * P - s * p})
wrong("below-zero", "Phi is taken at -mean / s: the probability to be BELOW 0. The ReLU passes "
      "what is above.", {"P_at": lambda mu, s: -mu / s},
      {"first": lambda mu, s, P, p: mu * (1 - P) + s * p})
wrong("relu-of-mean", "This is the ReLU of the mean. The mean of the ReLU is larger: the noise is "
      "cut off on one side only.", {"first": lambda mu, s, P, p: np.maximum(mu, 0)})
wrong("given-above", "This is the mean of what is above 0, given that it IS above. The zeros "
      "count too: multiply by the probability Phi(mean / s).",
      {"first": lambda mu, s, P, p: mu + s * p / P})
wrong("mean-before", "This is the mean before the ReLU.", {"first": lambda mu, s, P, p: mu})
wrong("absolute", "This is the mean of |z|. A ReLU sets what is below 0 to 0, and does not turn "
      "it round.", {"first": lambda mu, s, P, p: mu * (2 * P - 1) + 2 * s * p})
wrong("mean-square", "This is the mean SQUARE of the ReLU. Its variance is less: subtract the "
      "square of the mean (of the ReLU).", {"spread": lambda m, q, mu, s, P: q})
wrong("minus-mean-before", "What is subtracted is the square of the mean BEFORE the ReLU. "
      "Subtract that of the ReLU's own mean.", {"spread": lambda m, q, mu, s, P: q - mu**2})
wrong("minus-relu-of-mean", "Subtract the square of the mean of the ReLU, not of the ReLU of the "
      "mean.", {"spread": lambda m, q, mu, s, P: q - np.maximum(mu, 0) ** 2})
wrong("minus-unsquared-mean", "The mean is subtracted from the mean square. Subtract the SQUARE "
      "of the mean.", {"spread": lambda m, q, mu, s, P: q - m})
wrong("deviation", "This is the standard deviation. Return its square, the variance.",
      {"spread": lambda m, q, mu, s, P: np.sqrt(q - m**2)})
wrong("variance-given-above", "This is the variance of what is above 0, given that it IS above. "
      "The zeros count too: take the mean square, and subtract the squared mean.",
      {"spread": lambda m, q, mu, s, P: q / P - (m / P) ** 2})
wrong("variance-sign", "The sign of the variance is turned: it is the mean square minus the "
      "squared mean.", {"spread": lambda m, q, mu, s, P: m**2 - q},
      {"spread": lambda m, q, mu, s, P: m**2 + q})
wrong("variance-before", "This is the variance before the ReLU. What it cuts off varies no more.",
      {"spread": lambda m, q, mu, s, P: s**2})
wrong("share-of-variance", "Cutting off the negative part does more than let a share Phi of the "
      "variance through: take the mean square, and subtract the squared mean.",
      {"spread": lambda m, q, mu, s, P: s**2 * P},
      {"spread": lambda m, q, mu, s, P: s**2 * (mu > 0)},
      {"spread": lambda m, q, mu, s, P: s**2 * P**2})
wrong("square-lacks-density", "The mean square lacks the part mean * s * phi(mean / s).",
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P})
wrong("square-mistaken", "The mean square is (mean^2 + s^2) * Phi + mean * s * phi: look at your "
      "factors of mean and s, at what is squared, and at the sign.",
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + s * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + mu * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + mu * s**2 * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P - mu * s * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + s**2 * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + mu**2 * s * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * P + (mu + s) * p},
      {"square": lambda mu, s, P, p: (mu**2 + s**2) * p + mu * s * P},
      {"square": lambda mu, s, P, p: (mu**2 + s) * P + mu * s * p},
      {"square": lambda mu, s, P, p: (mu + s) ** 2 * P + mu * s * p},
      {"square": lambda mu, s, P, p: (mu + s**2) * P + mu * s * p},
      {"square": lambda mu, s, P, p: s**2 * P + mu * s * p},
      {"square": lambda mu, s, P, p: mu**2 * P + mu * s * p},
      {"square": lambda mu, s, P, p: mu**2 + s**2 * P + mu * s * p},
      {"square": lambda mu, s, P, p: mu**2 + s**2})
wrong("variance-0", "Where the variance is 0, nothing is random: the mean is max(0, mean), and "
      "the variance 0. mean / s divides by 0 there: np.where(s > 0, s, 1) is safe to divide by.",
      *(partial(fast_relu.right, safe=safe, zero=zero)
        for safe in (lambda s: np.where(s > 0, s, 1), lambda s: s)
        for zero in (lambda mu, m, v: (m, v), lambda mu, m, v: (m, 0 * mu),
                     lambda mu, m, v: (np.maximum(mu, 0), v))),
      *[partial(fast_relu.right, zero=lambda mu, m, v, f=f, v0=v0: (f(mu), v0 + 0 * mu))
        for f in (lambda mu: np.nan * mu, lambda mu: 0 * mu, lambda mu: mu, lambda mu: mu / 2,
                  lambda mu: mu > 0, np.abs, lambda mu: np.maximum(mu, 0))
        for v0 in (np.nan, 1, 0)][:-1], lambda m, v: fast_relu.right(m, v if v.all() else 0 * v),
      lambda m, v: fast_relu.right(m, np.where(v > 0, v, 1)))
# fmt: on


# The loss of sparse variational dropout

K1, K2, K3 = MOLCHANOV


def bound_cases(data):
    def case(batch, shape, n_train):
        return {"log_likelihoods": -data.exponential(1.3, batch),
                "log_alpha": data.uniform(-4, 4, shape), "n_train": n_train}  # fmt: skip

    one, other = case(6, (3, 5), 40), case(6, (3, 5), 40)
    positive = np.abs(other["log_alpha"]) + 0.1
    cases = [
        one,
        one | {"log_likelihoods": other["log_likelihoods"]},
        one | {"log_alpha": positive},
        one | {"n_train": 90},
        case(50, (4, 2), 300),
    ]
    one_each = case(1, (1, 1), 7)
    far = [case(2, (2, 3), 10) | {"log_alpha": np.array([[a, -1.0]])} for a in (-800.0, 800.0)]
    return [cases, [one_each, *far]]


@exercise(
    returns=Number(
        "The loss",
        infinite="Stay in logarithms: log_alpha may be negative, and far out alpha or 1/alpha is "
        "beyond the largest number. log(1 + 1/alpha) is np.logaddexp(0, -log_alpha), and expit "
        "never overflows.",
    ),
    cases=bound_cases,
    otherwise="The loss is the mean of -log_likelihoods, plus the sum of all KL over n_train.",
    done="mean loss plus KL / N, finite for any alpha.",
)
def negative_bound(
    log_likelihoods, log_alpha, n_train, *, data=lambda ll, N: -ll.mean(), sign=1, total=np.sum,
    weight=lambda ll, N: 1 / N, see=lambda a: a, at=lambda a: a, sigmoid=expit, k=(K1, K1, K2, K3),
    tail=lambda a: np.logaddexp(0, -a), half=0.5, whole=lambda ll, N: 1, cost=None,
):  # fmt: skip
    """-mean log-likelihood + KL / N, by Molchanov's approximation."""
    a = see(log_alpha)
    kl = k[0] - k[1] * sigmoid(k[2] + k[3] * at(a)) + half * tail(a) if cost is None else cost(a)
    loss = data(log_likelihoods, n_train) + sign * weight(log_likelihoods, n_train) * total(kl)
    return whole(log_likelihoods, n_train) * loss


# fmt: off
wrong = negative_bound.wrong
wrong("no-kl", "The KL is missing: this is the data's part alone.", {"total": lambda kl: 0.0})
wrong("no-likelihood", "The log-likelihood is missing: this is the KL's part alone.",
      {"data": lambda ll, N: 0.0})
wrong("kl-sign", "The KL has the wrong sign: this loss falls as the noise gets SMALLER. The "
      "formula of the exercise is that of -KL; the loss adds +KL, so noisy weights are cheap.",
      {"sign": -1})
wrong("likelihood-sign", "The log-likelihood has the wrong sign: a loss falls as the data gets "
      "likelier.", {"data": lambda ll, N: ll.mean()}, {"data": lambda ll, N: ll.mean(), "sign": -1})
wrong("of-training-set", "This is the loss of the whole training set, n_train times too large. "
      "Here it is one per example: the mean of the log-likelihoods, and KL / N.",
      {"whole": lambda ll, N: N})
wrong("of-minibatch", "This is the loss of the whole minibatch, as many times too large as it has "
      "examples. Here it is one per example: the mean of the log-likelihoods, and KL / N.",
      {"whole": lambda ll, N: len(ll)})
wrong("not-divided-by-n", "The KL is not divided by n_train. It is paid once for the whole "
      "training set, and the loss is one per EXAMPLE: each bears 1/N of it.",
      {"weight": lambda ll, N: 1}, {"weight": lambda ll, N: N})
wrong("kl-by-minibatch", "The KL is divided by the size of the minibatch. It is paid once for the "
      "whole training set: divide by n_train.", {"weight": lambda ll, N: 1 / len(ll)},
      {"weight": lambda ll, N: 1 / (len(ll) * N)})
wrong("kl-divisor", "The KL is divided by another number. It is paid once for the whole training "
      "set: divide by n_train.", {"weight": lambda ll, N: 1 / (N - 1)},
      {"weight": lambda ll, N: 1 / N**2}, {"weight": lambda ll, N: 1 / (2 * N)},
      {"weight": lambda ll, N: 1 / math.sqrt(N)}, {"weight": lambda ll, N: 1 / (N + len(ll))},
      {"weight": lambda ll, N: 1 / (N // len(ll))})
wrong("kl-times-share", "The KL is multiplied by batch / n_train. That belongs to a loss summed "
      "over the minibatch; with the mean loss, divide by n_train.",
      {"weight": lambda ll, N: len(ll) / N})
wrong("kl-averaged", "Every weight costs its own KL, so the KL is SUMMED over the weights; yours "
      "is a mean, over all of them, or over rows or columns.", {"total": np.mean},
      {"total": lambda kl: kl.sum() / len(kl)}, {"total": lambda kl: kl.sum() / kl.shape[1]})
wrong("likelihood-summed", "The log-likelihoods are summed over the minibatch. The loss is one "
      "per example: their mean, and KL / N beside it.", {"data": lambda ll, N: -ll.sum()})
wrong("likelihood-by-n", "The log-likelihoods are divided by n_train. The minibatch is only a "
      "part of the data: take its mean.", {"data": lambda ll, N: -ll.sum() / N},
      {"data": lambda ll, N: -ll.mean() / N})
wrong("likelihood-not-mean", "The first part is the mean over ALL log-likelihoods of the "
      "minibatch, with a minus sign.", {"data": lambda ll, N: -ll.max()},
      {"data": lambda ll, N: -ll.min()}, {"data": lambda ll, N: -ll[0]},
      {"data": lambda ll, N: -np.median(ll)},
      {"data": lambda ll, N: -ll.sum() / max(len(ll) - 1, 1)})
wrong("not-all-weights", "Every weight has a KL of its own. Compute it for each entry of "
      "log_alpha, and sum over every row and column.", {"see": lambda a: a.sum(keepdims=True)},
      {"cost": lambda a: a.size * negative_bound.right(np.zeros(1), a.mean(keepdims=True), 1)},
      {"see": lambda a: a[0]}, {"see": lambda a: a[:, 0]},
      {"see": lambda a: a.diagonal()}, {"see": lambda a: a.mean(keepdims=True)})
wrong("exp-of-likelihood", "They are log-likelihoods already: no np.exp, and no np.log.",
      {"data": lambda ll, N: -np.exp(ll).mean()},
      {"data": lambda ll, N: -np.log(np.exp(ll).mean())},
      {"data": lambda ll, N: -np.log(-ll).mean()}, {"data": lambda ll, N: -np.log(ll).mean()})
wrong("alpha-for-log-alpha", "log_alpha holds log(alpha). The sigmoid takes k2 + k3 * log_alpha "
      "as it is, without np.exp or np.log, and alpha in log(1 + 1/alpha) is exp(log_alpha).",
      {"see": np.exp}, {"see": np.log}, {"at": np.exp}, {"at": np.log},
      {"at": np.log, "tail": lambda a: np.log1p(1 / a)}, {"tail": lambda a: np.log1p(1 / a)},
      {"tail": lambda a: np.log1p(1 / np.abs(a))}, {"tail": lambda a: np.log1p(np.exp(-np.exp(a)))})
wrong("one-plus-alpha", "The logarithm takes 1 + alpha. It is log(1 + 1/alpha): np.logaddexp(0, "
      "-log_alpha).", {"tail": lambda a: np.logaddexp(0, a)},
      {"tail": lambda a: np.log(1 + np.exp(a))}, {"tail": lambda a: np.log1p(np.exp(a))})
wrong("no-half", "log(1 + 1/alpha) lacks its factor 1/2, in front of the logarithm.", {"half": 1},
      {"half": 2}, {"half": 1, "tail": lambda a: np.logaddexp(0, -a) + math.log(0.5)},
      {"half": 1, "tail": lambda a: np.logaddexp(0, -a - math.log(2))},
      {"half": 1, "tail": lambda a: np.sqrt(np.logaddexp(0, -a))})
wrong("tail-sign", "The sign of 1/2 log(1 + 1/alpha) is turned. In -KL it is subtracted.",
      {"half": -0.5})
wrong("no-tail", "The part 1/2 log(1 + 1/alpha) is missing.", {"half": 0})
wrong("no-one", "1/alpha stands in the place of 1 + 1/alpha.", {"tail": lambda a: -a})
wrong("no-k1", "The constant k1 is missing: without it the KL does not tend to 0 as alpha grows.",
      {"k": (0, K1, K2, K3)})
wrong("k1-sign", "The sign of the constant k1 is turned: -KL ends in - k1.",
      {"k": (-K1, K1, K2, K3)})
wrong("k1-once", "The constant k1 is counted once: subtract it for EVERY weight, inside the sum.",
      {"cost": lambda a: K1 / a.size - K1 * expit(K2 + K3 * a) + np.logaddexp(0, -a) / 2})
wrong("sigmoid-sign", "The sign inside the sigmoid is turned.", {"sigmoid": lambda z: expit(-z)})
wrong("other-sigmoid", "It takes the logistic sigmoid, 1 / (1 + exp(-z)); yours is another "
      "function, or missing.", {"sigmoid": np.tanh}, {"sigmoid": lambda z: z}, {"sigmoid": ndtr},
      {"sigmoid": lambda z: np.maximum(z, 0)})
wrong("constants-mistaken", "k1 sigmoid(k2 + k3 log(alpha)): a constant is left out, or stands in "
      "another's place.",
      *({"k": (K1, *ks)} for ks in itertools.permutations((K1, K2, K3)) if ks != (K1, K2, K3)),
      {"k": (K1, 1, K2, K3)}, {"k": (K1, K1, 0, K3)}, {"k": (K1, K1, K2, 1)}, {"k": (1, 1, K2, K3)},
      *({"k": tuple(round(k, digits) for k in (K1, K1, K2, K3))} for digits in (1, 2, 3)))
wrong("small-alpha", "This is -1/2 log(alpha), the start of the formula for small alpha alone. "
      "Take the whole of it.", {"cost": lambda a: -a / 2})
wrong("other-logarithm", "These are natural logarithms: np.log, not np.log2 or np.log10.",
      {"half": 0.5 / math.log(2)}, {"half": 0.5 / math.log(10)},
      {"tail": lambda a: np.logaddexp2(0, -a)})
wrong("overflow", "At log_alpha = -800 or 800 the loss is not finite: alpha or 1/alpha is beyond "
      "the largest number. Stay in logarithms: log(1 + 1/alpha) is np.logaddexp(0, -log_alpha), "
      "and expit never overflows.",
      *[partial(negative_bound.right, tail=tail, sigmoid=sigmoid)
        for tail in (lambda a: np.logaddexp(0, -a), lambda a: np.log(1 + np.exp(-a)),
                     lambda a: np.log((1 + np.exp(a)) / np.exp(a)),
                     lambda a: np.log(1 + np.exp(a)) - a)
        for sigmoid in (expit, lambda z: np.exp(z) / (1 + np.exp(z)))][1:])
wrong("clipped", "At log_alpha = -800 or 800 the loss is {yours}, and right is {right}. Is "
      "log_alpha or alpha clipped, or something small added to it? Stay in logarithms: "
      "np.logaddexp(0, -log_alpha).",
      *(lambda ll, a, N, m=m: negative_bound.right(ll, np.clip(a, -m, m), N)
        for m in (5, 8, 10, 15, 20, 30, 50, 80, 88, 100, 500, 600, 700, 705, 709, 710, 740, 745)),
      *(partial(negative_bound.right, tail=lambda a, m=m, f=f: np.log(1 + 1 / f(np.exp(a), m)))
        for m in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16, 1e-20, 1e-30, 1e-300)
        for f in (np.add, np.maximum)),
      *(partial(negative_bound.right,
                tail=lambda a, most=most: np.nan_to_num(np.log(1 + np.exp(-a)), posinf=most))
        for most in (0, 709.782712893384, None)))
# fmt: on


# A recurrent network whose mask lasts

# fmt: off
STATES = {
    "phases-swapped": "The two phases are swapped: the mask is on at prediction, and off in "
    "training.",
    "mask-at-prediction": "The mask is still on at prediction: the same sequences came out "
    "differently. There nothing is dropped, and the whole state is carried on.",
    "first-step-random": "At prediction chance is at work in the first step already. The state "
    "before it is 0, and nothing is masked there.",
    "prediction-off": "Without masks the states must be h_t = tanh(W x_t + U h_(t-1) + b), "
    "beginning with a state of 0. At [sequence, step, unit] = {at} that is {right:.4f}; yours is "
    "{yours:.4f}.",
    "other-activation": "The activation is another one, or missing. This network has tanh.",
    "no-mask": "Nothing is dropped in training: where is the mask?",
    "zoneout": "Units keep their old state where they are dropped: that is zoneout. Here a dropped "
    "old state is 0 on its way into the next step, U (m * h), and the new state is computed as "
    "always.",
    "outputs-masked": "The outputs themselves are masked: some are 0. The mask belongs to the old "
    "state on its way into the next step, m * h; what is RETURNED, and what the mask is applied "
    "to, is h without a mask.",
    "outputs-scaled": "The states that are returned are multiplied by a factor in training. Only "
    "the old state on its way into the next step is masked and scaled.",
    "first-step-masked": "The first step differs from tanh(W x_1 + b). The state before it is 0, "
    "so the mask has nothing to drop there yet: neither the input nor the weights W nor the bias "
    "have a mask here.",
    "masked-after-u": "The mask multiplies U h. It belongs to the state itself, before U: "
    "U (m * h). A unit whose state is dropped is then dropped for ALL units that listen to it.",
    "other-mask": "What reaches a step is not U (m * h), with an m that holds zeros and one other "
    "number. Is the mask on the weights U, or on something else? It multiplies the old state, and "
    "has an entry for each sequence and each hidden unit.",
    "new-each-step": "The mask changes from step to step. Then the memory of a unit survives T "
    "steps with probability keep_prob^T only. Draw ONE mask for each sequence, before the loop "
    "over time, and use it at every step.",
    "shared-by-sequences": "One mask for all sequences: every sequence lost the same units. Each "
    "sequence needs a mask of its own: draw an array (sequences, hidden units).",
    "shared-by-units": "In each sequence all units are kept or dropped together. Each unit needs a "
    "draw of its own: draw an array (sequences, hidden units).",
    "fixed-total-per-sequence": "Every sequence keeps nearly the same number of units. Units are "
    "dropped independently of each other, so the number varies from sequence to sequence.",
    "all-dropped": "In training the old state never arrives: it is always dropped.",
    "keep-prob-1": "With keep_prob=1 nothing is dropped: training gives what prediction gives.",
}
# fmt: on
state_off = looked_up(STATES)


def network(data, n=400, n_steps=5, hidden=20, inputs=3, keep_prob=0.8):
    return {
        "x": data.normal(size=(n, n_steps, inputs)), "W": data.normal(size=(hidden, inputs)) / 3,
        "U": 0.6 * np.linalg.qr(data.normal(size=(hidden, hidden)))[0],
        "b": data.choice([-1, 1], hidden) * data.uniform(0.3, 0.6, hidden), "keep_prob": keep_prob,
    }  # fmt: skip


def rnn_traits(run, data):
    for sizes in ((400, 5, 20, 3, 0.8), (300, 4, 12, 2, 0.3), (1, 1, 3, 2, 0.5)):
        given, rng = network(data, *sizes), np.random.default_rng(data)
        right = run_rnn.right(**given, phase="test", rng=rng)
        train, test, again = (run(**given, phase=p, rng=rng) for p in ("train", "test", "test"))
        random = not np.array_equal(test, again)
        yield from state_off(random and np.allclose(train, right), "phases-swapped")
        yield from state_off(not np.array_equal(test[:, 0], again[:, 0]), "first-step-random")
        yield from state_off(random, "mask-at-prediction")
        if not np.allclose(test, right, 1e-4, 1e-5):
            yield from known(run_rnn, test, **given, phase="test")
            begin, z = test[:, 0], np.arctanh(right[:, 0])
            yield from state_off(bent(begin, z) and bent(begin, right[:, 0]), "other-activation")
            at = np.unravel_index(np.abs(test - right).argmax(), test.shape)
            values = {"at": [int(i) for i in at], "right": right[at], "yours": test[at]}
            yield from state_off(True, "prediction-off", **values)
        if len(train) > 1:
            yield from state_off(np.allclose(train, test), "no-mask")
            yield from state_traits(train, **given)
    yield from fresh(lambda rng: run(**network(np.random.default_rng(0)), phase="train", rng=rng))
    whole = run(**given | {"keep_prob": 1.0}, phase="train", rng=rng)
    yield from state_off(not np.allclose(whole, test, atol=1e-5), "keep-prob-1")


def state_traits(train, x, W, U, b, keep_prob):
    """Read off by what the old states were multiplied, and look at it."""
    first, old = np.tanh(x[:, 0] @ W.T + b), train[:, :-1]
    ratio = train[:, 0] / first
    yield from state_off(((train[:, 1:] == old) & (old != 0)).mean() > 0.01, "zoneout")
    yield from state_off((train == 0).any(), "outputs-masked")
    yield from state_off(np.ptp(ratio) < 1e-4 < np.abs(ratio - 1).max(), "outputs-scaled")
    yield from state_off(not np.allclose(train[:, 0], first, atol=1e-5), "first-step-masked")
    bounded = np.clip(train[:, 1:], -1 + 1e-14, 1 - 1e-14)
    received = np.arctanh(bounded) - x[:, 1:] @ W.T - b  # sequences, steps, hidden

    def factors(masked, old):
        """By what old states were multiplied: NaN where 0/0, 0 where dropped."""
        ratio = np.divide(masked, old, out=np.full_like(old, np.nan), where=np.abs(old) > 0.05)
        return np.where(np.abs(ratio) < 0.02, 0, ratio)

    def one_value(factors, axis=None):
        with engine.silenced():
            kept = np.where(factors == 0, np.nan, factors)
            low, high = np.nanmin(kept, axis), np.nanmax(kept, axis)
            return not (np.abs(high - low) > 0.01 * np.abs(high)).any()  # NaN: none kept

    m = factors(received @ np.linalg.inv(U).T, old)
    same_in = [axis for axis in (None, (1, 2), (0, 1), (0, 2)) if one_value(m, axis)]
    after_u = None not in same_in and one_value(factors(received, old @ U.T))
    yield from state_off(after_u, "masked-after-u")
    yield from state_off(not same_in, "other-mask")
    is_kept = (m != 0) & ~np.isnan(m)
    kept = is_kept.any(axis=1)
    changes = (kept & (m == 0).any(axis=1)).any()
    yield from state_off(changes or same_in == [(0, 2)], "new-each-step")
    yield from coins(kept, keep_prob, ("sequence", "unit"), "states", sentences=STATES)
    value = m[is_kept].mean() if None in same_in else None
    yield from scaled(value, keep_prob, "states")


@exercise(
    returns=Array(
        "The result",
        lambda x, b: (*x.shape[:2], len(b)),
        "All states: sequences, steps, hidden units. np.stack(states, axis=1) puts time second.",
    ),
    traits=rnn_traits,
    at_once=True,
    phases=lambda data: network(data, 4) | {"rng": data},
    done="one mask for each sequence, on the old state, scaled; none at prediction.",
)
def run_rnn(
    x, W, U, b, keep_prob, phase, rng, *, g=np.tanh, factor=lambda p: 1.0, turn=lambda U: U.T,
    start=0.0, out=lambda h, p: h, time=1, own=lambda h: h,
):  # fmt: skip
    """h_t = tanh(W x_t + U (m * h_(t-1)) + b), one m for each sequence."""
    h, states, mask = np.full((len(x), len(b)), start), [], factor(keep_prob)
    if phase == "train":
        mask = (rng.random(h.shape) < keep_prob) / keep_prob
    elif phase != "test":
        raise ValueError(phase)
    for x_t in np.swapaxes(x, 0, 1)[::time]:
        h = g(x_t @ W.T + (mask * own(h)) @ turn(U) + b)
        states.append(out(h, keep_prob))
    return np.stack(states, axis=1)


# fmt: off
wrong = run_rnn.wrong
wrong("factor-at-prediction", "At prediction a factor is applied. The mask is scaled in training, "
      "so prediction needs none.", {"factor": lambda p: p}, {"factor": lambda p: 1 / p},
      {"out": lambda h, p: p * h}, {"out": lambda h, p: h / p}, {"factor": lambda p: 1 - p})
wrong("no-recurrence", "The old state has no part in the new one: where is U h?",
      {"factor": lambda p: 0.0})
wrong("u-transposed", "U is transposed. Row i of U holds the weights INTO unit i: for rows of "
      "states that is h @ U.T.", {"turn": lambda U: U})
wrong("no-bias", "The bias is missing.",
      lambda x, W, U, b, *rest: run_rnn.right(x, W, U, 0 * b, *rest))
wrong("bias-sign", "The bias is subtracted. In this exercise it is added.",
      lambda x, W, U, b, *rest: run_rnn.right(x, W, U, -b, *rest))
wrong("no-inputs", "The inputs have no part in the states after the first: where is W x_t?",
      lambda x, *rest: run_rnn.right(x * (np.arange(x.shape[1]) == 0)[:, None], *rest),
      lambda x, *rest: run_rnn.right(0 * x, *rest))
wrong("first-input-only", "Every step reads the input of one and the same step. Step t reads x[:, "
      "t].", lambda x, *rest: run_rnn.right(np.repeat(x[:, :1], x.shape[1], 1), *rest),
      lambda x, *rest: run_rnn.right(np.repeat(x[:, -1:], x.shape[1], 1), *rest))
wrong("other-activation", STATES["other-activation"],
      {"g": expit}, {"g": lambda z: np.maximum(z, 0)}, {"g": lambda z: z},
      {"g": lambda z: softmax(z, axis=-1)})
wrong("pre-activations", "These are pre-activations. The state is their tanh, and the state is "
      "returned.", {"g": lambda z: z, "own": np.tanh})
wrong("begins-with-h0", "The states that are returned begin with h_0 = 0, and the last is "
      "missing. Return h_1, h_2 and so on: append the new state, not the old one.",
      lambda *a: np.concatenate([0 * (h := run_rnn.right(*a))[:, :1], h[:, :-1]], axis=1))
wrong("backwards", "Time runs backwards: begin with step 0, and return the states in their order.",
      {"time": -1}, lambda *a: run_rnn.right(*a)[:, ::-1])
wrong("start", "The state before the first step must be 0; yours is 1.", {"start": 1.0})
# fmt: on


# DropConnect

# fmt: off
SUMS = {
    "activation": "An activation is applied. Return the pre-activation, the masked sum itself; "
    "what follows it is another layer.",
    "no-coins": "The factors before a weight take more than two values. A mask holds two only, 0 "
    "and 1/keep_prob: multiply each weight by a coin of its own.",
    "not-a-sum": "With weights 1, 2, 4, 8 and so on, inputs of 1 and keep_prob={keep_prob:g}, an "
    "output must be a sum of some of these weights, times 1/keep_prob. Yours has {one:.4g} among "
    "them. Multiply each weight by a zero or a one of its own, and divide by keep_prob.",
    "no-possible-sum": "With inputs other than 1, an output is none of the sums that a mask can "
    "leave. A term is mask * weight * input: multiply by x, and sum over the inputs.",
    "averaged": "The terms are averaged over the inputs. W x is their sum.",
    "no-bias": "With inputs of 0 the output is 0: where is the bias?",
    "bias-sign": "The bias is subtracted, as the slides write it. In this exercise it is added.",
    "bias-tied-to-weight": "The bias shares a mask entry with a weight. All entries are "
    "independent: draw the bias's mask anew.",
    "keep-prob-1": "With keep_prob=1 nothing is dropped, and the output is W x + b for each "
    "example. Yours differs.",
    "fixed-number": "The same number of weights is kept every time. Weights are dropped "
    "independently of each other, so the number varies from example to example, and from output "
    "to output.",
    "never-empty": "An output that lost all of its weights gets one back. Weights are dropped "
    "independently of each other: it may happen that all are.",
    "shared-by-examples": "One mask for the whole batch: every example lost the same weights. Each "
    "example needs masks of its own, so draw an array with a first axis of examples: (examples, "
    "outputs, inputs).",
    "shared-by-outputs": "In each example all outputs lost the same inputs. That is dropout on the "
    "inputs. DropConnect tosses a coin for each WEIGHT: two outputs may lose different weights of "
    "one input. Draw an array (examples, outputs, inputs).",
    "shared-by-inputs": "In each example an output lost all of its weights, or none. That is "
    "dropout of the units. DropConnect tosses a coin for each WEIGHT. Draw an array (examples, "
    "outputs, inputs).",
}
BIAS_MASKS = {
    "no-mask": "The bias is never dropped. DropConnect drops each bias too, with a mask entry of "
    "its own for each example and output.",
    "shared-by-examples": "One mask for the whole batch: every example lost the same biases. Each "
    "example needs masks of its own: draw an array (examples, outputs) for the bias.",
    "shared-by-outputs": "In each example all biases are kept or dropped together. Each has a mask "
    "entry of its own: draw an array (examples, outputs).",
}
# fmt: on
sum_off = looked_up(SUMS)


def read_off(sums, n_weights, keep_prob):
    """Which of the weights 1, 2, 4 ... are in each sum, and the factor; None if none fits."""
    least = sums[sums > 1e-6].min(initial=np.inf)
    for unit in [*(each(keep_prob) for each in FACTORS.values()), least]:
        numbers = sums / unit
        whole = np.rint(numbers)
        if np.abs(numbers - whole).max() < 2e-3 and whole.min() >= 0 and whole.max() < 2**n_weights:
            return (whole.astype(int)[..., None] >> np.arange(n_weights) & 1).astype(bool), unit
    return None


def by_share(sums, n_weights):
    """Whether sums are divided by the share kept: of a call, of an example, or of an output."""
    for groups in (sums.reshape(len(sums), -1), sums.reshape(-1, sums.shape[-1]),
                   sums.reshape(-1, 1)):  # fmt: skip
        n = groups.shape[1] * n_weights
        counts = np.arange(1, n + 1)[None]
        if n > 1000:  # the smallest sum is one weight, divided by the share
            least = np.where(groups > 1e-6, groups, np.inf).min(axis=1)
            counts = np.rint(n / least)[:, None] + np.arange(-1, 2)
        numbers = groups[:, None] * counts[..., None] / n  # groups, counts, sums
        whole = np.rint(numbers).astype(int)
        bits = (whole[..., None] >> np.arange(n_weights) & 1).sum(axis=(2, 3))
        fits = (np.abs(numbers - whole).max(axis=2) < 1e-3) & (bits == counts)
        fits &= (whole.min(axis=2) >= 0) & (whole.max(axis=2) < 2**n_weights)
        if (fits.any(axis=1) | (groups == 0).all(axis=1)).all():
            return True
    return False


def dropconnect_traits(run, data):
    for keep_prob, n, n_outputs, n_inputs in ((0.75, 300, 4, 5), (0.3, 250, 5, 4)):
        rng, no_bias = np.random.default_rng(data), np.zeros(n_outputs)
        small = {"x": data.normal(size=(30, 3)), "W": data.normal(size=(6, 3)),
                 "b": data.uniform(-2, 2, size=6)}  # fmt: skip

        def draw(x, W, b, keep_prob=keep_prob, rng=rng):
            return run(x=x, W=W, b=b, keep_prob=keep_prob, rng=rng)

        def calls(x, W, b, draw=draw):
            return np.array([draw(x, W, b) for _ in range(4)])

        near_1 = small | {"keep_prob": 1 - 1e-12}  # whoever divides by 1 - keep_prob can
        right, yours = small["x"] @ small["W"].T + small["b"], draw(**near_1)
        if not close(yours, right, 1e-5):
            yield from known(dropconnect, yours, **near_1)
            yield from sum_off(bent(yours, right), "activation")
        # With weights 1, 2, 4 ... and inputs of 1, a sum tells which weights are in it.
        x, W = np.ones((n, n_inputs)), np.tile(2.0 ** np.arange(n_inputs), (n_outputs, 1))
        yield from weight_traits(calls(x, W, no_bias), keep_prob, n_inputs)
        bias_only = np.zeros((n, 3)), np.ones((10, 3)), np.full(10, 2.0)
        yield from bias_traits(calls(*bias_only) / 2, keep_prob)
        together = read_off(calls(x, W, no_bias + 2**n_inputs), n_inputs + 1, keep_prob)
        if together:
            kept = together[0] - keep_prob
            tied = (kept[..., :-1] * kept[..., -1:]).mean(axis=(0, 1, 2))
            yield from sum_off(np.abs(tied).max() > 0.05, "bias-tied-to-weight")
        for n, n_outputs in ((150, 2), (1, 1)):
            x, W, b = (data.normal(size=size) for size in ((n, 3), (n_outputs, 3), n_outputs))
            terms = np.concatenate([x[:, None] * W, np.tile(b[:, None], (n, 1, 1))], axis=2)
            possible = terms @ all_masks(4).T / keep_prob  # examples, outputs, masks
            distance = np.abs(draw(x, W, b)[..., None] - possible).min(axis=-1)
            yield from sum_off(distance.max() > 1e-4, "no-possible-sum")
        yield from fresh(lambda rng, draw=draw, small=small: draw(**small, rng=rng))
        whole = draw(**small | {"keep_prob": 1.0})
        yield from sum_off(not close(whole, right, 1e-5), "keep-prob-1")


def weight_traits(sums, keep_prob, n_inputs):
    read = read_off(sums, n_inputs, keep_prob)
    if read is None:
        yield from found(by_share(sums, n_inputs), "by-share", BY_SHARE)
        yield from sum_off(len(np.unique(sums[..., 0].round(6))) > 2**n_inputs, "no-coins")
        yield from sum_off(True, "not-a-sum", keep_prob=keep_prob, one=sums.flat[0])
    kept, unit = read
    totals, differ = (kept.sum(axis=3), kept.sum(axis=(2, 3))), (kept != kept[:, :1]).any()
    yield from sum_off(differ and any(np.ptp(each) == 0 for each in totals), "fixed-number")
    full = not kept.all() and totals[0].all()
    yield from sum_off(differ and full and keep_prob < 0.5, "never-empty")
    axes = ("call", "example", "output", "input")
    yield from coins(kept, keep_prob, axes, "weights", sentences=SUMS)
    yield from sum_off(math.isclose(unit * keep_prob * n_inputs, 1, rel_tol=1e-4), "averaged")
    yield from scaled(unit, keep_prob, "weights")


def bias_traits(factors, keep_prob):
    """Look at by what the bias is multiplied."""
    yield from sum_off(not factors.any(), "no-bias")
    yield from sum_off(factors.max() <= 0, "bias-sign")
    kept = np.abs(factors) > 1e-6
    values = factors[kept]
    value = values[0] if np.ptp(values) < 1e-4 * abs(values[0]) else None
    axes = ("call", "example", "output")
    mistakes = coins(kept, keep_prob, axes, "bias terms", sentences=BIAS_MASKS)
    for each in itertools.chain(mistakes, scaled(value, keep_prob, "biases")):
        yield Finding(f"bias-{each.name}", each.sentence)


@exercise(
    returns=Array(
        "The output", lambda x, W: (len(x), len(W)), "One row per example, one column per output."
    ),
    traits=dropconnect_traits,
    at_once=True,
    done="a mask for each weight, bias and example; the mean kept.",
)
def dropconnect(x, W, b, keep_prob, rng, *, g=lambda z: z, see=lambda x: x, sign=1, w=lambda W: W):
    """g of the masked sums, with a coin for each weight and bias of each example."""
    M = rng.random((len(x), *W.shape)) < keep_prob  # examples, outputs, inputs
    m = rng.random((len(x), *b.shape)) < keep_prob
    return g((np.einsum("noi,oi,ni->no", M, w(W), see(x)) + sign * m * b) / keep_prob)


# fmt: off
wrong = dropconnect.wrong
wrong("activation", SUMS["activation"], {"g": lambda z: np.maximum(z, 0)}, {"g": np.tanh},
      {"g": expit}, {"g": lambda z: softmax(z, axis=-1)})
wrong("inputs-mistaken", "With keep_prob=1 the output must be W x + b; in yours the inputs or "
      "weights are squared, or have no part. A term of the sum is mask * weight * input.",
      {"see": np.square}, {"see": lambda x: np.maximum(x, 0)}, {"see": np.ones_like},
      {"see": np.abs}, {"w": np.square}, {"w": np.ones_like}, {"w": np.abs})
# fmt: on


# DropConnect at prediction

W_, B_ = np.array([[0.5, -2, 1, 1.5], [3, 1, -1, 0.25], [1, 1, 2, -0.5], [-1, 0.4, 0.3, 2],
                   [0.2, -0.6, 1.7, 0.9]]), np.array([2.0, -3, 1, 0.7, -1.2])  # fmt: skip
ROWS = np.array([[1.0, -0.5, 2, 3], [-1.5, 0.8, 0.6, 0.4], [0.3, 2, -1, -0.7]])


# fmt: off
SAMPLES = {
    "activation-of-mean": "There is no noise in it: this is the activation of the mean. The mean "
    "of an activation is another number, unless the activation is a straight line. Sample the "
    "pre-activation, apply the activation to each sample, and average last.",
    "no-samples": "There is no chance in it: the mean activation is computed some other way. Draw "
    "n_samples from the Gaussian with rng, and average the activation over them.",
    "ignores-activation": "Another activation than the given one acts on the samples, or none "
    "does. Apply the function `activation`, and nothing else, to each sample, then average.",
    "shared-by-calls": "Two calls drew the same noise: is a generator seeded inside your function? "
    "Draw from the rng it is given.",
    "shared-by-examples": "All examples got the same noise. The masks of different examples are "
    "independent, so draw a Gaussian number for each example, each output and each sample.",
    "shared-by-outputs": "All outputs got the same noise. The masks of different outputs are "
    "independent, so draw a Gaussian number for each example, each output and each sample.",
    "correlated-outputs": "The samples of different outputs are correlated. With DropConnect, "
    "unlike with dropout, outputs share no mask: their noise is independent.",
    "real-masks": "Only a few different values turn up: real masks were drawn, or something is "
    "rounded. The point is to do without: draw the pre-activation from a Gaussian with rng.normal.",
    "one-draw": "With n_samples=25 the result scatters as with n_samples=1. Each sample needs "
    "noise of its own, drawn inside the loop or with a first axis of samples; and it is n_samples "
    "that are averaged.",
    "not-independent-samples": "An average of n_samples=25 independent samples has a variance 25 "
    "times smaller than one; yours is {shrunk:.4g} times smaller.",
    "not-averaged": "With n_samples=25 the result is about {by:.3g} times what it is with "
    "n_samples=1. Divide the sum over the samples by n_samples, once.",
    "averaged-first": "The samples were averaged before the activation, which tends to the "
    "activation of the mean. It is the ACTIVATIONS that are averaged: apply it to each sample "
    "first.",
    "noise-after-activation": "The noise is added to the activation of the mean. It belongs to the "
    "pre-activation: add it there, then apply the activation to each sample.",
    "activations-off": "With activation=np.square the result must be near mean^2 + variance of the "
    "pre-activation, {right:.2f}; yours is {yours:.2f}. Apply the activation to each sample, once, "
    "and average over the samples.",
    "other-factor": "With keep_prob={keep_prob:g} your variance is about {by:.2f} times the sum of "
    "squares. It must be (1 - keep_prob) / keep_prob = {right:.2f} times.",
    "moments-off": "With keep_prob={keep_prob:g}, n_samples=1 and an activation that does nothing, "
    "the results for one example must have {what} {right}; yours have {yours}.",
    "not-gaussian": "Mean and variance are right, but the samples are not Gaussian. Draw them with "
    "rng.normal.",
    "keep-prob-1": "With keep_prob=1 nothing is dropped: the variance is 0, and the result is the "
    "activation of W x + b.",
}
SAMPLES |= dict.fromkeys(("alike-outputs", "opposite-outputs", "common-draw-per-example"),
                         SAMPLES["correlated-outputs"])
# fmt: on
sample_off = looked_up(SAMPLES)


def identity(u):
    """An activation that does nothing: one sample then is a pre-activation."""
    return np.array(u, dtype=float)


def inference_traits(run, data):
    size = data.uniform(0.8, 1.25)
    W, b, rng = W_ * size, B_ * size, np.random.default_rng(data)

    def draw(copies, keep_prob, activation=identity, n_samples=1, rng=rng):
        """Copies of the same examples: (copies, examples, outputs)."""
        given = {"W": W, "b": b, "keep_prob": keep_prob, "activation": activation}
        out = run(x=np.tile(ROWS, (copies, 1)), **given, n_samples=n_samples, rng=rng)
        return out.reshape(copies, len(ROWS), len(W))

    yield from noise_traits(draw)
    for keep_prob in (0.65, 0.3):
        yield from moment_traits(draw(1000, keep_prob), W, b, keep_prob)
    yield from average_traits(draw, *moments(ROWS, W, b, 0.6), 0.6)
    yield from fresh(lambda rng: draw(1, 0.5, np.tanh, 4, rng))
    for n, n_outputs in ((5, 5), (1, 1)):
        x, some_W, some_b = data.normal(size=(n, 4)), W[:n_outputs], b[:n_outputs]
        given = {"x": x, "W": some_W, "b": some_b, "activation": np.tanh, "n_samples": 3}
        whole = run(**given, keep_prob=1.0, rng=rng)
        yield from sample_off(not close(whole, np.tanh(x @ some_W.T + some_b), 1e-5), "keep-prob-1")


def noise_traits(draw):
    """Whether there is noise, of continuous values, and whether examples or outputs share it."""
    u, again = draw(1000, 0.65), draw(1000, 0.65)
    same, constant = np.array_equal(u, again), np.ptp(u, axis=0).max() < 1e-9
    of_mean = np.allclose(draw(1, 0.65, np.square), u[:1] ** 2, rtol=1e-4)
    yield from sample_off(same and constant and of_mean, "activation-of-mean")
    yield from sample_off(same and constant, "no-samples")
    plain, squared = (draw(2, 0.65, activation, 2, np.random.default_rng(3))
                      for activation in (identity, np.square))  # fmt: skip
    yield from sample_off(np.array_equal(plain, squared) or u.min() >= 0, "ignores-activation")
    yield from sample_off(same, "shared-by-calls")
    yield from sample_off(constant, "shared-by-examples")
    yield from sample_off(len(np.unique(u[:, 0, 0].round(6))) < 100, "real-masks")
    yield from sample_off(np.abs(np.corrcoef(u[:, 0].T)).min() > 0.99, "shared-by-outputs")
    ratio = u.var(axis=0).mean() / draw(200, 0.65, identity, 25).var(axis=0).mean()
    yield from sample_off(1 / 3 < ratio < 3, "one-draw")


def explained(check, fits):
    """The first wrong answer, or pair of such, of a table whose settings fit."""
    rows = [(each, each.settings) for each in check.table]
    pairs = ((one, mine | other) for (one, mine), (_, other) in itertools.combinations(rows, 2)
             if not mine.keys() & other.keys())  # fmt: skip
    with engine.silenced():
        for wrong, settings in itertools.chain(rows, pairs):
            if fits(settings):
                yield Finding(wrong.name, wrong.sentence)
                return


def moment_traits(u, W, b, keep_prob):
    """Whether the samples have mean and variance of the masked sums, and are Gaussian."""
    mean, variance = moments(ROWS, W, b, keep_prob)
    n, spread = len(u), u.var(axis=0)

    def centred(settings):
        distance = np.abs(u.mean(axis=0) - moments(ROWS, W, b, keep_prob, **settings)[0])
        return (distance < SIGMAS * np.sqrt(spread / n)).all()

    def spread_so(settings):
        ratio = spread / moments(ROWS, W, b, keep_prob, **settings)[1]
        reach = SIGMAS * math.sqrt(2 / n)  # of all together, they tell more
        together = abs(ratio.mean() - 1) < reach / math.sqrt(ratio.size)
        return (np.abs(ratio - 1) < reach).all() and together

    for fits, what, right, yours in ((centred, "means", mean, u.mean(axis=0)),
                                     (spread_so, "variances", variance, spread)):  # fmt: skip
        if not fits({}):
            yield from explained(gaussian_inference, fits)
            if fits is spread_so:
                by = spread / (variance * keep_prob / (1 - keep_prob))
                even = (np.abs(by / by.mean() - 1) < SIGMAS * math.sqrt(2 / n)).all()
                yield from sample_off(even, "other-factor", by=by.mean(), keep_prob=keep_prob,
                                      right=(1 - keep_prob) / keep_prob)  # fmt: skip
            asked = {"what": what, "right": right[0].round(2), "yours": yours[0].round(2)}
            yield from sample_off(True, "moments-off", keep_prob=keep_prob, **asked)
    z = (u - mean) / np.sqrt(variance)
    tails = abs(stats.kurtosis(z, axis=None)) > 7.5 * math.sqrt(24 / z.size)
    shape = stats.kstest(z.ravel(), "norm").pvalue < 1e-11
    yield from sample_off(shape or tails, "not-gaussian")
    yield from independent(z.reshape(-1, len(W)), ("example", "output"), "samples", SAMPLES)


def average_traits(draw, mean, variance, keep_prob):
    """Whether n_samples are averaged, and after the activation."""
    many = draw(400, keep_prob, identity, 25)
    reach = SIGMAS * many.std(axis=0) / math.sqrt(len(many)) + 1e-6
    elsewhere = (np.abs(many.mean(axis=0) - mean) > reach).any()
    yield from sample_off(elsewhere, "not-averaged", by=(many.mean(axis=0) / mean).mean())
    shrunk = (variance / many.var(axis=0)).mean()
    dependent = abs(shrunk / 25 - 1) > SIGMAS * math.sqrt(2 / many.size)
    yield from sample_off(dependent, "not-independent-samples", shrunk=shrunk)
    squares = draw(800, keep_prob, np.square, 4)

    def off_from(values):
        reach = SIGMAS * squares.std(axis=0) / math.sqrt(len(squares)) + 1e-9
        return (np.abs(squares.mean(axis=0) - values) > reach).any()

    right = mean**2 + variance
    if off_from(right):
        averaged_first = not off_from(mean**2 + variance / 4) and (squares >= 0).all()
        yield from sample_off(averaged_first, "averaged-first")
        yield from sample_off(not off_from(mean**2), "noise-after-activation")
        asked = {"right": right[0, 0], "yours": squares[:, 0, 0].mean()}
        yield from sample_off(True, "activations-off", **asked)


def moments(
    x, W, b, keep_prob, *, mean=lambda x, W, b, p: x @ W.T + b, factor=lambda p: (1 - p) / p,
    squares=lambda x, W, b: x**2 @ (W**2).T + b**2, power=1, of=lambda x: x,
):  # fmt: skip
    """Mean and variance of a pre-activation, for masks scaled by 1/keep_prob."""
    x = np.broadcast_to(of(x), x.shape)
    return mean(x, W, b, keep_prob), (factor(keep_prob) * squares(x, W, b)) ** power


@exercise(
    returns=Array(
        "The result",
        lambda x, W: (len(x), len(W)),
        "One row per example, one column per output: the average over the samples.",
        infinite="Is the root of a negative variance taken? Square weights and inputs entry by "
        "entry: no term of the variance is negative.",
    ),
    traits=inference_traits,
    at_once=True,
    done="mean and variance right, activations averaged.",
)
def gaussian_inference(x, W, b, keep_prob, activation, n_samples, rng, **settings):
    """Mean activation over Gaussian samples of the pre-activation."""
    mean, variance = moments(x, W, b, keep_prob, **settings)
    u = rng.normal(mean, np.sqrt(variance), (n_samples, len(x), len(W)))
    return activation(u).mean(axis=0)


FACTOR = "The factor of the variance is "
SCALED = " In this exercise masks are scaled by 1/keep_prob, so the mean is W x + b."
# fmt: off
wrong = gaussian_inference.wrong
wrong("mean-times-keep", "The mean of the pre-activation is keep_prob times too small, as for "
      "masks without a scale." + SCALED, {"mean": lambda x, W, b, p: p * (x @ W.T + b)},
      {"mean": lambda x, W, b, p: p * x @ W.T + b}, {"mean": lambda x, W, b, p: x @ W.T + p * b})
wrong("mean-divided", "The mean of the pre-activation is divided by keep_prob. The scaled mask "
      "has mean 1 already." + SCALED, {"mean": lambda x, W, b, p: (x @ W.T + b) / p},
      {"mean": lambda x, W, b, p: x @ W.T / p + b}, {"mean": lambda x, W, b, p: x @ W.T + b / p})
wrong("mean-without-bias", "The mean of the pre-activation is without the bias, or subtracts it."
      + SCALED, {"mean": lambda x, W, b, p: x @ W.T}, {"mean": lambda x, W, b, p: x @ W.T - b})
wrong("no-mean", "The mean of the pre-activation is missing: it is 0." + SCALED,
      {"mean": lambda x, W, b, p: 0 * (x @ W.T)})
wrong("of-another-example", "For a batch of different examples, mean or variance are those of "
      "another one, or of their mean. Each example has its own: W x + b, and the factor times W^2 "
      "x^2 + b^2.", {"mean": lambda x, W, b, p: x[:1] @ W.T + b + 0 * x @ W.T},
      {"mean": lambda x, W, b, p: x.mean(axis=0) @ W.T + b + 0 * x @ W.T}, {"of": lambda x: x[:1]},
      {"of": lambda x: x.mean(axis=0)},
      {"squares": lambda x, W, b: x[:1] ** 2 @ (W**2).T + b**2 + 0 * x @ W.T},
      {"squares": lambda x, W, b: (x**2).mean(axis=0) @ (W**2).T + b**2 + 0 * x @ W.T})
wrong("variance-without-bias", "The bias is forgotten in the variance. It has a mask too, so it "
      "adds its square.", {"squares": lambda x, W, b: x**2 @ (W**2).T})
wrong("not-squared", "Weights, inputs or the bias are not squared in the variance. It is a "
      "variance: each is squared, entry by entry, before they are multiplied and summed.",
      {"squares": lambda x, W, b: x**2 @ (W**2).T + np.abs(b)},
      {"squares": lambda x, W, b: x**2 @ (W**2).T + b},
      {"squares": lambda x, W, b: x**2 @ np.abs(W).T + b**2},
      {"squares": lambda x, W, b: np.abs(x) @ (W**2).T + b**2},
      {"squares": lambda x, W, b: np.abs(x) @ np.abs(W).T + np.abs(b)},
      {"squares": lambda x, W, b: np.abs(x @ W.T + b)},
      {"squares": lambda x, W, b: np.abs(x @ W.T) + b**2})
wrong("squared-as-a-whole", "The sum over the inputs is squared as a whole. The masks are "
      "independent, so the variances of the terms add up: square each term, then sum.",
      {"squares": lambda x, W, b: (x @ W.T) ** 2 + b**2},
      {"squares": lambda x, W, b: (x @ W.T + b) ** 2},
      {"squares": lambda x, W, b: (np.abs(x) @ np.abs(W).T + np.abs(b)) ** 2})
wrong("variance-without-weights", "Weights or inputs have no part in the variance. A mask "
      "multiplies: what is large gets large noise.", {"squares": lambda x, W, b: 1 + 0 * x @ W.T},
      {"squares": lambda x, W, b: (W**2).sum(axis=1) + b**2 + 0 * x @ W.T},
      {"squares": lambda x, W, b: (x**2).sum(axis=1, keepdims=True) + b**2 + 0 * x @ W.T})
wrong("factor-without-scale", FACTOR + "keep_prob * (1 - keep_prob), that of zeros and ones "
      "without a scale. Scaled by 1/keep_prob, a mask has its variance divided by keep_prob "
      "squared: (1 - keep_prob) / keep_prob.", {"factor": lambda p: p * (1 - p)})
wrong("slides-slip", FACTOR + "1 - keep_prob, which is what the slides' p(1 - p)/p comes to. That "
      "is a slip: dividing by p divides the variance p(1 - p) by p squared, which leaves (1 - "
      "keep_prob) / keep_prob.", {"factor": lambda p: 1 - p})
wrong("factor-upside-down", FACTOR + "keep_prob / (1 - keep_prob), upside down: did you take "
      "keep_prob for the probability to drop? It is (1 - keep_prob) / keep_prob, and vanishes "
      "where everything is kept.", {"factor": lambda p: p / (1 - p)})
wrong("factor-divided-twice", FACTOR + "(1 - keep_prob) / keep_prob^2, divided by keep_prob once "
      "too often.", {"factor": lambda p: (1 - p) / p**2})
wrong("mean-square-for-variance", FACTOR + "1 / keep_prob, the mean square of a scaled mask. Its "
      "variance is less, by the square of its mean: 1/keep_prob - 1, that is (1 - keep_prob) / "
      "keep_prob.", {"factor": lambda p: 1 / p})
wrong("no-factor", FACTOR + "1, or keep_prob. It is the variance of a scaled mask: (1 - "
      "keep_prob) / keep_prob.", {"factor": lambda p: 1.0}, {"factor": lambda p: p})
wrong("variance-for-deviation", "The variance is passed as the standard deviation. rng.normal "
      "takes the standard deviation: the ROOT of the variance.", {"power": 2})
wrong("root-of-a-part", "The root is taken of a part of the variance only. The standard deviation "
      "is the root of the whole: of the factor (1 - keep_prob) / keep_prob, and of the sum of "
      "squares.", {"factor": lambda p: ((1 - p) / p) ** 2},
      {"factor": lambda p: ((1 - p) / p) ** 0.5},
      {"squares": lambda x, W, b: (x**2 @ (W**2).T + b**2) ** 2})
wrong("root-twice", "The root of the variance is taken twice. Once makes it a standard deviation.",
      {"power": 0.5})
# fmt: on
