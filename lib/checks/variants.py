"""Checks of the exercises on variants: DropConnect, fast, variational and recurrent dropout."""

import itertools
import math
from functools import partial

import numpy as np
from scipy import stats
from scipy.special import erf, expit, ndtr, softmax

from lib.checks import engine
from lib.checks.engine import Array, Finding, Missed, Number, close, exercise, found
from lib.checks.traits import BY_SHARE, FACTORS, SIGMAS, coins, factor_name, fresh, independent
from lib.masks import all_masks
from lib.theory.variational import MOLCHANOV

summary = engine.summary_of("variants")

SCALES = {
    "1": (
        "not-scaled",
        "not scaled: a kept one counts once. With probability keep_prob it is there at all, so the "
        "mean is keep_prob times what it was. Divide by keep_prob.",
    ),
    "keep_prob": (
        "multiplied-by-keep",
        "multiplied by keep_prob, and masked on top of that. The mask makes the mean smaller; "
        "divide by keep_prob to restore it.",
    ),
    "1/keep_prob^2": ("divided-twice", "divided by keep_prob twice. Once restores the mean."),
    "sqrt(1/keep_prob)": (
        "divided-by-root",
        "divided by the root of keep_prob. It is the mean that is to be restored: divide by "
        "keep_prob itself.",
    ),
    "1/(1 - keep_prob)": (
        "divided-by-drop",
        "divided by 1 - keep_prob, the probability to drop. The mean of a mask is keep_prob: "
        "divide by that.",
    ),
    "1 - keep_prob": (
        "multiplied-by-drop",
        "multiplied by 1 - keep_prob. The mean of a mask is keep_prob: divide by that.",
    ),
}


def scaled(value, keep_prob, what):
    """By what the kept ones are multiplied; None if by no one number."""
    name = factor_name(value, keep_prob)
    if name == "1/keep_prob":
        return
    if name is None and (value is None or abs(value * keep_prob - 1) < 0.15):
        yield Finding("by-share", BY_SHARE)
        return
    other = ("other-factor", f"multiplied by {value:.4g}, with keep_prob={keep_prob:g}: divide by "
             "keep_prob.")  # fmt: skip
    label, text = SCALES.get(name, other)
    yield Finding(label, f"The {what} are {text}")


def first(traits):
    """Say the first thing that is off: nothing after it is looked at, nor the table gone through.

    The traits look up what the table's answers would give, see `known` and `explained`.
    """

    def say_first(run, data):
        for each in traits(run, data):
            raise Missed(each.sentence, each.name)
        return ()

    return say_first


def known(check, yours, **case):
    """The wrong answers of a table whose outputs are these."""
    for wrong in check.table:
        if close(yours, check._run(wrong.answer, case, raw=True), 1e-4):
            yield Finding(wrong.name, wrong.sentence)
            return


# The moments of a rectified Gaussian

ROOT = math.sqrt(2 * math.pi)


def rectified_cases(data):
    def mean(shape):
        return data.uniform(-2, 3, shape)

    def variance(shape):
        return data.uniform(0.3, 5, shape)

    one, other = mean(8), variance(8)
    pairs = [(one, other), (mean(8), other), (one, variance(8)), (mean((3, 4)), variance((3, 4))),
             (mean(1), variance(1))]  # fmt: skip
    edge = [(np.array([2.0, -3, 0, 1.5]), np.array([0.0, 0, 0, 1])),
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
    "variance. A variance is the mean square minus the squared mean.",
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


fast_relu.wrong(
    "wrong-way-round",
    "The two are the wrong way round: return the mean first, then the variance.",
    lambda mean, variance: fast_relu.right(mean, variance)[::-1],
)
fast_relu.wrong(
    "variance-for-deviation",
    "The variance is taken for the standard deviation. s is the root of the variance, and the "
    "formulas take mean / s.",
    {"s": lambda v: v},
    {"s": lambda v: v / 2},
    {"s": np.square},
    {"P_at": lambda mu, s: mu / s**2, "p_at": lambda mu, s: mu / s**2},
    {"P_at": lambda mu, s: mu / s**2},
    {"p_at": lambda mu, s: mu / s**2},
)
fast_relu.wrong(
    "taken-at-mean",
    "Phi or phi is taken at the mean. They are those of the STANDARD Gaussian: take both at "
    "mean / s.",
    {"P_at": lambda mu, s: mu, "p_at": lambda mu, s: mu},
    {"P_at": lambda mu, s: mu},
    {"p_at": lambda mu, s: mu},
    {"P_at": lambda mu, s: mu * s, "p_at": lambda mu, s: mu * s},
)
fast_relu.wrong(
    "other-density",
    "phi is the density of the standard Gaussian, exp(-a^2 / 2) / sqrt(2 pi). Yours is another.",
    {"phi": lambda a: np.exp(-(a**2) / 2)},
    {"phi": lambda a: np.exp(-(a**2)) / ROOT},
    {"phi": lambda a: np.exp(-(a**2) / 2) / ROOT**2},
    {"phi": lambda a: np.exp(-a / 2) / ROOT},
    {"phi": lambda a: np.exp(a**2 / 2) / ROOT},
    {"phi": lambda a: np.exp(-(a**2) / 2) / math.sqrt(math.pi)},
)
fast_relu.wrong(
    "other-cdf",
    "Phi is the distribution function of the standard Gaussian, ndtr. Yours is another.",
    {"Phi": erf},
    {"Phi": lambda a: erf(a / math.sqrt(2))},
    {"Phi": lambda a: (1 + erf(a)) / 2},
    {"Phi": expit},
    {"Phi": lambda a: expit(1.702 * a)},
    {"Phi": lambda a: a > 0},
)
fast_relu.wrong(
    "small-added",
    "Something small is added to s or to the variance, and it changes the results. Divide by "
    "np.where(s > 0, s, 1) instead.",
    *(
        lambda mean, variance, m=m, s=s: fast_relu.right(mean, variance, s=lambda v: s(v, m))
        for m in (0.1, 0.01, 1e-3, 1e-4)
        for s in (lambda v, m: np.sqrt(v + m), lambda v, m: np.sqrt(v) + m)
    ),
)
fast_relu.wrong(
    "cdf-for-density",
    "The distribution function and the density stand in each other's place: it is mean * Phi + s * "
    "phi.",
    {"first": lambda mu, s, P, p: mu * p + s * P},
    {"first": lambda mu, s, P, p: mu * p + P},
)
fast_relu.wrong(
    "density-lacks-s",
    "The density lacks its factor s: mean * Phi + s * phi, with phi the STANDARD density at "
    "mean / s. (The density of N(mean, s^2) at 0 has a 1/s in it.)",
    {"first": lambda mu, s, P, p: mu * P + p},
    {"first": lambda mu, s, P, p: mu * P + p / s},
)
fast_relu.wrong(
    "density-times-variance",
    "The density is multiplied by the variance. Its factor is s, the standard deviation.",
    {"first": lambda mu, s, P, p: mu * P + s**2 * p},
)
fast_relu.wrong(
    "no-density",
    "The part s * phi(mean / s) is missing. A Gaussian above 0 is above its own mean on average.",
    {"first": lambda mu, s, P, p: mu * P},
)
fast_relu.wrong(
    "no-cdf", "The part mean * Phi(mean / s) is missing.", {"first": lambda mu, s, P, p: s * p}
)
fast_relu.wrong(
    "density-subtracted",
    "The sign of s * phi is turned: it is added.",
    {"first": lambda mu, s, P, p: mu * P - s * p},
)
fast_relu.wrong(
    "below-zero",
    "Phi is taken at -mean / s: the probability to be BELOW 0. The ReLU passes what is above.",
    {"P_at": lambda mu, s: -mu / s},
    {"first": lambda mu, s, P, p: mu * (1 - P) + s * p},
)
fast_relu.wrong(
    "relu-of-mean",
    "This is the ReLU of the mean. The mean of the ReLU is larger: the noise is cut off on one "
    "side only.",
    {"first": lambda mu, s, P, p: np.maximum(mu, 0)},
)
fast_relu.wrong(
    "given-above",
    "This is the mean of what is above 0, given that it IS above. The zeros count too: multiply by "
    "the probability Phi(mean / s).",
    {"first": lambda mu, s, P, p: mu + s * p / P},
)
fast_relu.wrong(
    "mean-before", "This is the mean before the ReLU.", {"first": lambda mu, s, P, p: mu}
)
fast_relu.wrong(
    "absolute",
    "This is the mean of |z|. A ReLU sets what is below 0 to 0, and does not turn it round.",
    {"first": lambda mu, s, P, p: mu * (2 * P - 1) + 2 * s * p},
)
fast_relu.wrong(
    "mean-square",
    "This is the mean SQUARE of the ReLU. Its variance is less: subtract the square of the mean "
    "(of the ReLU).",
    {"spread": lambda m, q, mu, s, P: q},
)
fast_relu.wrong(
    "minus-mean-before",
    "What is subtracted is the square of the mean BEFORE the ReLU. Subtract that of the ReLU's own "
    "mean.",
    {"spread": lambda m, q, mu, s, P: q - mu**2},
)
fast_relu.wrong(
    "minus-relu-of-mean",
    "Subtract the square of the mean of the ReLU, not of the ReLU of the mean.",
    {"spread": lambda m, q, mu, s, P: q - np.maximum(mu, 0) ** 2},
)
fast_relu.wrong(
    "minus-unsquared-mean",
    "The mean is subtracted from the mean square. Subtract the SQUARE of the mean.",
    {"spread": lambda m, q, mu, s, P: q - m},
)
fast_relu.wrong(
    "deviation",
    "This is the standard deviation. Return its square, the variance.",
    {"spread": lambda m, q, mu, s, P: np.sqrt(q - m**2)},
)
fast_relu.wrong(
    "variance-sign",
    "The sign of the variance is turned: it is the mean square minus the squared mean.",
    {"spread": lambda m, q, mu, s, P: m**2 - q},
    {"spread": lambda m, q, mu, s, P: m**2 + q},
)
fast_relu.wrong(
    "variance-before",
    "This is the variance before the ReLU. What it cuts off varies no more.",
    {"spread": lambda m, q, mu, s, P: s**2},
)
fast_relu.wrong(
    "share-of-variance",
    "Cutting off the negative part does more than let a share Phi of the variance through: take "
    "the mean square, and subtract the squared mean.",
    {"spread": lambda m, q, mu, s, P: s**2 * P},
    {"spread": lambda m, q, mu, s, P: s**2 * (mu > 0)},
    {"spread": lambda m, q, mu, s, P: s**2 * P**2},
)
fast_relu.wrong(
    "square-lacks-density",
    "The mean square lacks the part mean * s * phi(mean / s).",
    {"square": lambda mu, s, P, p: (mu**2 + s**2) * P},
)
fast_relu.wrong(
    "square-mistaken",
    "The mean square is (mean^2 + s^2) * Phi + mean * s * phi: look at your factors of mean and s, "
    "at what is squared, and at the sign.",
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
    {"square": lambda mu, s, P, p: mu**2 + s**2},
)
fast_relu.wrong(
    "variance-0",
    "Where the variance is 0, nothing is random: the mean is max(0, mean), and the variance 0. "
    "mean / s divides by 0 there: np.where(s > 0, s, 1) is safe to divide by.",
    *(
        partial(fast_relu.right, safe=safe, zero=zero)
        for safe in (lambda s: np.where(s > 0, s, 1), lambda s: s)
        for zero in (lambda mu, m, v: (m, v), lambda mu, m, v: (m, 0 * mu),
                     lambda mu, m, v: (np.maximum(mu, 0), v))
    ),
    *[
        partial(fast_relu.right, zero=lambda mu, m, v, f=f, v0=v0: (f(mu), v0 + 0 * mu))
        for f in (lambda mu: np.nan * mu, lambda mu: 0 * mu, lambda mu: mu, lambda mu: mu / 2,
                  lambda mu: mu > 0, np.abs, lambda mu: np.maximum(mu, 0))
        for v0 in (np.nan, 1, 0)
    ][:-1],
    lambda m, v: fast_relu.right(m, v if v.all() else 0 * v),
)  # fmt: skip


# The loss of sparse variational dropout

K1, K2, K3 = MOLCHANOV


def bound_cases(data):
    def case(batch, shape, n_train):
        return {"log_likelihoods": -data.exponential(1.3, batch),
                "log_alpha": data.uniform(-4, 4, shape), "n_train": n_train}  # fmt: skip

    one, other = case(6, (3, 5), 40), case(6, (3, 5), 40)
    cases = [one, *(one | {name: other[name]} for name in ("log_likelihoods", "log_alpha")),
             one | {"n_train": 90}, case(50, (4, 2), 300), case(1, (1, 1), 7)]  # fmt: skip
    far = [case(2, (2, 3), 10) | {"log_alpha": np.array([[a, -1.0]])} for a in (-800.0, 800.0)]
    return [cases, far]


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


def sums_up(name, text, *answers):
    negative_bound.wrong(name, "Every weight costs its own KL, so the KL is SUMMED over the "
                         f"weights; yours is {text}.", *answers)  # fmt: skip


negative_bound.wrong(
    "no-kl", "The KL is missing: this is the data's part alone.", {"total": lambda kl: 0.0}
)
negative_bound.wrong(
    "no-likelihood",
    "The log-likelihood is missing: this is the KL's part alone.",
    {"data": lambda ll, N: 0.0},
)
negative_bound.wrong(
    "kl-sign",
    "The KL has the wrong sign: this loss falls as the noise gets SMALLER. The formula of the "
    "exercise is that of -KL; the loss adds +KL, so noisy weights are cheap.",
    {"sign": -1},
)
negative_bound.wrong(
    "likelihood-sign",
    "The log-likelihood has the wrong sign: a loss falls as the data gets likelier.",
    {"data": lambda ll, N: ll.mean()},
    {"data": lambda ll, N: ll.mean(), "sign": -1},
)
negative_bound.wrong(
    "of-training-set",
    "This is the loss of the whole training set, n_train times too large. Here it is one per "
    "example: the mean of the log-likelihoods, and KL / N.",
    {"whole": lambda ll, N: N},
)
negative_bound.wrong(
    "of-minibatch",
    "This is the loss of the whole minibatch, as many times too large as it has examples. Here it "
    "is one per example: the mean of the log-likelihoods, and KL / N.",
    {"whole": lambda ll, N: len(ll)},
)
negative_bound.wrong(
    "not-divided-by-n",
    "The KL is not divided by n_train. It is paid once for the whole training set, and the loss is "
    "one per EXAMPLE: each bears 1/N of it.",
    {"weight": lambda ll, N: 1},
    {"weight": lambda ll, N: N},
)
negative_bound.wrong(
    "kl-by-minibatch",
    "The KL is divided by the size of the minibatch. It is paid once for the whole training set: "
    "divide by n_train.",
    {"weight": lambda ll, N: 1 / len(ll)},
    {"weight": lambda ll, N: 1 / (len(ll) * N)},
)
negative_bound.wrong(
    "kl-times-share",
    "The KL is multiplied by batch / n_train. That belongs to a loss summed over the minibatch; "
    "with the mean loss, divide by n_train.",
    {"weight": lambda ll, N: len(ll) / N},
)
sums_up("kl-averaged", "their mean", {"total": np.mean})
sums_up("kl-averaged-over-rows", "averaged over the rows", {"total": lambda k: k.sum() / len(k)})
sums_up(
    "kl-averaged-over-columns",
    "averaged over the columns",
    {"total": lambda k: k.sum() / k.shape[1]},
)
negative_bound.wrong(
    "likelihood-summed",
    "The log-likelihoods are summed over the minibatch. The loss is one per example: their mean, "
    "and KL / N beside it.",
    {"data": lambda ll, N: -ll.sum()},
)
negative_bound.wrong(
    "likelihood-by-n",
    "The log-likelihoods are divided by n_train. The minibatch is only a part of the data: take "
    "its mean.",
    {"data": lambda ll, N: -ll.sum() / N},
    {"data": lambda ll, N: -ll.mean() / N},
)
negative_bound.wrong(
    "likelihood-not-mean",
    "The first part is the mean over ALL log-likelihoods of the minibatch, with a minus sign.",
    {"data": lambda ll, N: -ll.max()},
    {"data": lambda ll, N: -ll.min()},
    {"data": lambda ll, N: -ll[0]},
    {"data": lambda ll, N: -np.median(ll)},
    {"data": lambda ll, N: -ll.sum() / max(len(ll) - 1, 1)},
)
negative_bound.wrong(
    "not-all-weights",
    "The KL is summed over ALL weights: over every row and every column of log_alpha.",
    {"see": lambda a: a[0]},
    {"see": lambda a: a[:, 0]},
    {"see": lambda a: a.diagonal()},
    {"see": lambda a: a.mean(keepdims=True)},
)
negative_bound.wrong(
    "exp-of-likelihood",
    "They are log-likelihoods already: no np.exp, and no np.log.",
    {"data": lambda ll, N: -np.exp(ll).mean()},
    {"data": lambda ll, N: -np.log(np.exp(ll).mean())},
    {"data": lambda ll, N: -np.log(-ll).mean()},
    {"data": lambda ll, N: -np.log(ll).mean()},
)
negative_bound.wrong(
    "alpha-for-log-alpha",
    "log_alpha holds log(alpha). The sigmoid takes k2 + k3 * log_alpha as it is, without np.exp or "
    "np.log, and alpha in log(1 + 1/alpha) is exp(log_alpha).",
    {"see": np.exp},
    {"see": np.log},
    {"at": np.exp},
    {"at": np.log},
    {"at": np.log, "tail": lambda a: np.log1p(1 / a)},
    {"tail": lambda a: np.log1p(1 / a)},
    {"tail": lambda a: np.log1p(1 / np.abs(a))},
    {"tail": lambda a: np.log1p(np.exp(-np.exp(a)))},
)
negative_bound.wrong(
    "one-plus-alpha",
    "The logarithm takes 1 + alpha. It is log(1 + 1/alpha): np.logaddexp(0, -log_alpha).",
    {"tail": lambda a: np.logaddexp(0, a)},
    {"tail": lambda a: np.log(1 + np.exp(a))},
    {"tail": lambda a: np.log1p(np.exp(a))},
)
negative_bound.wrong(
    "no-half",
    "log(1 + 1/alpha) lacks its factor 1/2, in front of the logarithm.",
    {"half": 1},
    {"half": 2},
    {"half": 1, "tail": lambda a: np.logaddexp(0, -a) + math.log(0.5)},
    {"half": 1, "tail": lambda a: np.logaddexp(0, -a - math.log(2))},
)
negative_bound.wrong(
    "tail-sign",
    "The sign of 1/2 log(1 + 1/alpha) is turned. In -KL it is subtracted.",
    {"half": -0.5},
)
negative_bound.wrong("no-tail", "The part 1/2 log(1 + 1/alpha) is missing.", {"half": 0})
negative_bound.wrong(
    "no-one", "1/alpha stands in the place of 1 + 1/alpha.", {"tail": lambda a: -a}
)
negative_bound.wrong(
    "no-k1",
    "The constant k1 is missing: without it the KL does not tend to 0 as alpha grows.",
    {"k": (0, K1, K2, K3)},
)
negative_bound.wrong(
    "k1-sign", "The sign of the constant k1 is turned: -KL ends in - k1.", {"k": (-K1, K1, K2, K3)}
)
negative_bound.wrong(
    "k1-once",
    "The constant k1 is counted once: subtract it for EVERY weight, inside the sum.",
    {"cost": lambda a: K1 / a.size - K1 * expit(K2 + K3 * a) + np.logaddexp(0, -a) / 2},
)
negative_bound.wrong(
    "sigmoid-sign", "The sign inside the sigmoid is turned.", {"sigmoid": lambda z: expit(-z)}
)
negative_bound.wrong(
    "other-sigmoid",
    "It takes the logistic sigmoid, 1 / (1 + exp(-z)); yours is another function, or missing.",
    {"sigmoid": np.tanh},
    {"sigmoid": lambda z: z},
    {"sigmoid": ndtr},
    {"sigmoid": lambda z: np.maximum(z, 0)},
)
negative_bound.wrong(
    "constants-mistaken",
    "k1 sigmoid(k2 + k3 log(alpha)): a constant is left out, or stands in another's place.",
    *({"k": (K1, *ks)} for ks in itertools.permutations((K1, K2, K3)) if ks != (K1, K2, K3)),
    {"k": (K1, 1, K2, K3)},
    {"k": (K1, K1, 0, K3)},
    {"k": (K1, K1, K2, 1)},
    {"k": (1, 1, K2, K3)},
    *({"k": tuple(round(k, digits) for k in (K1, K1, K2, K3))} for digits in (1, 2, 3)),
)
negative_bound.wrong(
    "small-alpha",
    "This is -1/2 log(alpha), the start of the formula for small alpha alone. Take the whole of "
    "it.",
    {"cost": lambda a: -a / 2},
)
negative_bound.wrong(
    "other-logarithm",
    "These are natural logarithms: np.log, not np.log2 or np.log10.",
    {"half": 0.5 / math.log(2)},
    {"half": 0.5 / math.log(10)},
)
negative_bound.wrong(
    "overflow",
    "At log_alpha = -800 or 800 the loss is not finite: alpha or 1/alpha is beyond the largest "
    "number. Stay in logarithms: log(1 + 1/alpha) is np.logaddexp(0, -log_alpha), and expit never "
    "overflows.",
    *[
        partial(negative_bound.right, tail=tail, sigmoid=sigmoid)
        for tail in (lambda a: np.logaddexp(0, -a), lambda a: np.log(1 + np.exp(-a)),
                     lambda a: np.log((1 + np.exp(a)) / np.exp(a)),
                     lambda a: np.log(1 + np.exp(a)) - a)
        for sigmoid in (expit, lambda z: np.exp(z) / (1 + np.exp(z)))
    ][1:],
)  # fmt: skip
negative_bound.wrong(
    "clipped",
    "At log_alpha = -800 or 800 the loss is {yours}, and right is {right}. Is log_alpha or alpha "
    "clipped, or something small added to it? Stay in logarithms: np.logaddexp(0, -log_alpha).",
    *(
        lambda ll, a, N, m=m: negative_bound.right(ll, np.clip(a, -m, m), N)
        for m in (5, 8, 10, 15, 20, 30, 50, 80, 88, 100, 500, 600, 700, 705, 709, 710, 740, 745)
    ),
    *(
        lambda ll, a, N, m=m, f=f: negative_bound.right(
            ll, a, N, tail=lambda a: np.log(1 + 1 / f(np.exp(a), m))
        )
        for m in (1e-6, 1e-7, 1e-8, 1e-9, 1e-10, 1e-12, 1e-15, 1e-16, 1e-20, 1e-30, 1e-300)
        for f in (np.add, np.maximum)
    ),
    *(
        partial(negative_bound.right, tail=tail)
        for tail in (
            lambda a: np.log(1 + np.minimum(np.exp(-a), np.finfo(float).max)),
            lambda a: np.nan_to_num(np.log(1 + np.exp(-a)), posinf=0),
            lambda a: np.nan_to_num(np.log(1 + np.exp(-a))),
        )
    ),
)


# A recurrent network whose mask lasts

NEW_EACH_STEP = (
    "The mask changes from step to step. Then the memory of a unit survives T steps with "
    "probability keep_prob^T only. Draw ONE mask for each sequence, before the loop over time, and "
    "use it at every step."
)
STATE_MASKS = {
    "shared-by-sequences": "One mask for all sequences: every sequence lost the same units. Each "
    "sequence needs a mask of its own: draw an array (sequences, hidden units).",
    "shared-by-units": "In each sequence all units are kept or dropped together. Each unit needs a "
    "draw of its own: draw an array (sequences, hidden units).",
    "all-dropped": "In training the old state never arrives: it is always dropped.",
    "no-mask": "Nothing is dropped in training: where is the mask?",
}


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
        yield from found(random and np.allclose(train, right), "phases-swapped",
                         "The two phases are swapped: the mask is on at prediction, and off in "
                         "training.")  # fmt: skip
        yield from found(random, "mask-at-prediction",
                         "The mask is still on at prediction: the same sequences came out "
                         "differently. There nothing is dropped, and the whole state is carried "
                         "on.")  # fmt: skip
        if not np.allclose(test, right, 1e-4, 1e-5):
            yield from known(run_rnn, test, **given, phase="test")
            at = tuple(int(i) for i in np.unravel_index(np.abs(test - right).argmax(), test.shape))
            yield Finding(
                "prediction-off",
                "Without masks the states must be h_t = tanh(W x_t + U h_(t-1) + b), beginning "
                f"with a state of 0. At [sequence, step, unit] = {list(at)} that is "
                f"{right[at]:.4f}; yours is {test[at]:.4f}.",
            )
        if len(train) > 1:
            yield from state_traits(train, test, **given)
    yield from fresh(lambda rng: run(**network(np.random.default_rng(0)), phase="train", rng=rng))
    whole = run(**given | {"keep_prob": 1.0}, phase="train", rng=rng)
    yield from found(not np.allclose(whole, test, atol=1e-5), "keep-prob-1",
                     "With keep_prob=1 nothing is dropped: training gives what prediction gives.",
                     )  # fmt: skip


def state_traits(train, test, x, W, U, b, keep_prob):
    """Read off by what the old states were multiplied, and look at it."""
    first, old = np.tanh(x[:, 0] @ W.T + b), train[:, :-1]
    ratio = train[:, 0] / first
    yield from found(np.allclose(train, test), "no-mask", STATE_MASKS["no-mask"])
    yield from found(
        ((train[:, 1:] == old) & (old != 0)).mean() > 0.01, "zoneout",
        "Units keep their old state where they are dropped: that is zoneout. Here a dropped old "
        "state is 0 on its way into the next step, U (m * h), and the new state is computed as "
        "always.",
    )  # fmt: skip
    yield from found(
        (train == 0).any(), "outputs-masked",
        "The outputs themselves are masked: some are 0. The mask belongs to the old state on its "
        "way into the next step, m * h; what is RETURNED, and what the mask is applied to, is h "
        "without a mask.",
    )  # fmt: skip
    yield from found(
        np.ptp(ratio) < 1e-4 < np.abs(ratio - 1).max(), "outputs-scaled",
        "The states that are returned are multiplied by a factor in training. Only the old state "
        "on its way into the next step is masked and scaled.",
    )  # fmt: skip
    yield from found(
        not np.allclose(train[:, 0], first, atol=1e-5), "first-step-masked",
        "The first step differs from tanh(W x_1 + b). The state before it is 0, so the mask has "
        "nothing to drop there yet: neither the input nor the weights W nor the bias have a mask "
        "here.",
    )  # fmt: skip
    bounded = np.clip(train[:, 1:], -1 + 1e-14, 1 - 1e-14)
    received = np.arctanh(bounded) - x[:, 1:] @ W.T - b  # sequences, steps, hidden

    def factors(masked, old):
        """What old states were multiplied by: NaN where 0/0, 0 where dropped."""
        ratio = np.divide(masked, old, out=np.full_like(old, np.nan), where=np.abs(old) > 0.05)
        return np.where(np.abs(ratio) < 0.02, 0, ratio)

    def one_value(factors, axis=None):
        with engine.silenced():
            kept = np.where(factors == 0, np.nan, factors)
            low, high = np.nanmin(kept, axis), np.nanmax(kept, axis)
            return not (np.abs(high - low) > 0.01 * np.abs(high)).any()  # NaN: none kept

    m = factors(received @ np.linalg.inv(U).T, old)
    same_in = [axis for axis in (None, (1, 2), (0, 1), (0, 2)) if one_value(m, axis)]
    yield from found(
        None not in same_in and one_value(factors(received, old @ U.T)), "masked-after-u",
        "The mask multiplies U h. It belongs to the state itself, before U: U (m * h). A unit "
        "whose state is dropped is then dropped for ALL units that listen to it.",
    )  # fmt: skip
    yield from found(
        not same_in, "other-mask",
        "What reaches a step is not U (m * h), with an m that holds zeros and one other number. Is "
        "the mask on the weights U, or on something else? It multiplies the old state, and has an "
        "entry for each sequence and each hidden unit.",
    )  # fmt: skip
    kept = ((m != 0) & ~np.isnan(m)).any(axis=1)
    yield from found((kept & (m == 0).any(axis=1)).any() or same_in == [(0, 2)], "new-each-step",
                     NEW_EACH_STEP)  # fmt: skip
    yield from coins(kept, keep_prob, ("sequence", "unit"), "states", sentences=STATE_MASKS)
    value = m[(m != 0) & ~np.isnan(m)].mean() if None in same_in else None
    yield from scaled(value, keep_prob, "kept states")


@exercise(
    returns=Array(
        "The result",
        lambda x, b: (*x.shape[:2], len(b)),
        "All states: sequences, steps, hidden units. np.stack(states, axis=1) puts time second.",
    ),
    traits=first(rnn_traits),
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


run_rnn.wrong(
    "factor-at-prediction",
    "At prediction a factor is applied. The mask is scaled in training, so prediction needs none.",
    {"factor": lambda p: p},
    {"factor": lambda p: 1 / p},
    {"out": lambda h, p: p * h},
    {"out": lambda h, p: h / p},
    {"factor": lambda p: 1 - p},
)
run_rnn.wrong(
    "no-recurrence",
    "The old state has no part in the new one: where is U h?",
    {"factor": lambda p: 0.0},
)
run_rnn.wrong(
    "u-transposed",
    "U is transposed. Row i of U holds the weights INTO unit i: for rows of states that is "
    "h @ U.T.",
    {"turn": lambda U: U},
)
run_rnn.wrong(
    "no-bias",
    "The bias is missing.",
    lambda x, W, U, b, *rest: run_rnn.right(x, W, U, 0 * b, *rest),
)
run_rnn.wrong(
    "bias-sign",
    "The bias is subtracted. In this exercise it is added.",
    lambda x, W, U, b, *rest: run_rnn.right(x, W, U, -b, *rest),
)
run_rnn.wrong(
    "no-inputs",
    "The inputs have no part in the states after the first: where is W x_t?",
    lambda x, *rest: run_rnn.right(x * (np.arange(x.shape[1]) == 0)[:, None], *rest),
    lambda x, *rest: run_rnn.right(0 * x, *rest),
)
run_rnn.wrong(
    "first-input-only",
    "Every step reads the input of one and the same step. Step t reads x[:, t].",
    lambda x, *rest: run_rnn.right(np.repeat(x[:, :1], x.shape[1], 1), *rest),
    lambda x, *rest: run_rnn.right(np.repeat(x[:, -1:], x.shape[1], 1), *rest),
)
run_rnn.wrong(
    "other-activation",
    "The activation is another one, or missing. This network has tanh.",
    {"g": expit},
    {"g": lambda z: np.maximum(z, 0)},
    {"g": lambda z: z},
    {"g": lambda z: softmax(z, axis=-1)},
)
run_rnn.wrong(
    "pre-activations",
    "These are pre-activations. The state is their tanh, and the state is returned.",
    {"g": lambda z: z, "own": np.tanh},
)
run_rnn.wrong(
    "begins-with-h0",
    "The states that are returned begin with h_0 = 0, and the last is missing. Return h_1, h_2 and "
    "so on: append the new state, not the old one.",
    lambda *a: np.concatenate([0 * (h := run_rnn.right(*a))[:, :1], h[:, :-1]], axis=1),
)
run_rnn.wrong(
    "backwards",
    "Time runs backwards: begin with step 0, and return the states in their order.",
    {"time": -1},
    lambda *a: run_rnn.right(*a)[:, ::-1],
)
run_rnn.wrong("start", "The state before the first step must be 0; yours is 1.", {"start": 1.0})


# DropConnect

WEIGHT_MASKS = {
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
        if n > 1000:  # the smallest sum is one weight, divided by the share
            least = np.where(groups > 1e-6, groups, np.inf).min(axis=1)
            counts = np.rint(n / least)[:, None]
            counts = counts + np.arange(-1, 2)
        else:
            counts = np.arange(1, n + 1)[None]
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
        # With weights 1, 2, 4 ... and inputs of 1, a sum tells which weights are in it.
        x, W = np.ones((n, n_inputs)), np.tile(2.0 ** np.arange(n_inputs), (n_outputs, 1))
        yield from weight_traits(calls(x, W, no_bias), keep_prob, n_inputs)
        yield from bias_traits(calls(np.zeros((n, 3)), np.ones((10, 3)), np.full(10, 2.0)),
                               keep_prob)  # fmt: skip
        together = read_off(calls(x, W, no_bias + 2**n_inputs), n_inputs + 1, keep_prob)
        if together:
            kept = together[0] - keep_prob
            tied = (kept[..., :-1] * kept[..., -1:]).mean(axis=(0, 1, 2))
            yield from found(np.abs(tied).max() > 0.05, "bias-tied-to-weight",
                             "The bias shares a mask entry with a weight. All entries are "
                             "independent: draw the bias's mask anew.")  # fmt: skip
        for n, n_outputs in ((150, 2), (1, 1)):
            x, W, b = (data.normal(size=size) for size in ((n, 3), (n_outputs, 3), n_outputs))
            terms = np.concatenate([x[:, None] * W, np.tile(b[:, None], (n, 1, 1))], axis=2)
            possible = terms @ all_masks(4).T / keep_prob  # examples, outputs, masks
            distance = np.abs(draw(x, W, b)[..., None] - possible).min(axis=-1)
            yield from found(
                distance.max() > 1e-4, "no-possible-sum",
                "With inputs other than 1, an output is none of the sums that a mask can leave. A "
                "term is mask * weight * input: multiply by x, and sum over the inputs.",
            )  # fmt: skip
        yield from fresh(lambda rng, draw=draw, small=small: draw(**small, rng=rng))
        yield from found(not close(draw(**small | {"keep_prob": 1.0}), right, 1e-5), "keep-prob-1",
                         "With keep_prob=1 nothing is dropped, and the output is W x + b for each "
                         "example. Yours differs.")  # fmt: skip


def weight_traits(sums, keep_prob, n_inputs):
    read = read_off(sums, n_inputs, keep_prob)
    if read is None:
        yield from found(by_share(sums, n_inputs), "by-share", BY_SHARE)
        yield from found(
            len(np.unique(sums[..., 0].round(6))) > 2**n_inputs, "no-coins",
            "The factors before a weight take more than two values. A mask holds two only, 0 and "
            "1/keep_prob: multiply each weight by a coin of its own.",
        )  # fmt: skip
        yield Finding(
            "not-a-sum",
            f"With weights 1, 2, 4, 8 and so on, inputs of 1 and keep_prob={keep_prob:g}, an "
            "output must be a sum of some of these weights, times 1/keep_prob. Yours has "
            f"{sums.flat[0]:.4g} among them. Multiply each weight by a zero or a one of its own, "
            "and divide by keep_prob.",
        )
    kept, unit = read
    axes, totals = ("call", "example", "output", "input"), (kept.sum(axis=3), kept.sum(axis=(2, 3)))
    yield from found(
        not (kept == kept[:, :1]).all() and any(np.ptp(each) == 0 for each in totals),
        "fixed-number",
        "The same number of weights is kept every time. Weights are dropped independently of each "
        "other, so the number varies from example to example, and from output to output.",
    )  # fmt: skip
    yield from found(
        keep_prob < 0.5 and not kept.all() and totals[0].all() and (kept != kept[:, :1]).any(),
        "never-empty",
        "An output that lost all of its weights gets one back. Weights are dropped independently "
        "of each other: it may happen that all are.",
    )  # fmt: skip
    yield from coins(kept, keep_prob, axes, "weights", sentences=WEIGHT_MASKS)
    yield from found(math.isclose(unit * keep_prob * n_inputs, 1, rel_tol=1e-4), "averaged",
                     "The terms are averaged over the inputs. W x is their sum.")  # fmt: skip
    yield from scaled(unit, keep_prob, "weights")


def bias_traits(outputs, keep_prob):
    """Look at the bias alone: the outputs are for inputs of 0, and biases of 2."""
    factors = outputs / 2
    yield from found(not outputs.any(), "no-bias",
                     "With inputs of 0 the output is 0: where is the bias?")  # fmt: skip
    yield from found(factors.max() <= 0, "bias-sign",
                     "The bias is subtracted, as the slides write it. In this exercise it is "
                     "added.")  # fmt: skip
    kept = np.abs(factors) > 1e-6
    off = coins(kept, keep_prob, ("call", "example", "output"), "bias terms", sentences=BIAS_MASKS)
    values = factors[kept]
    value = values[0] if np.ptp(values) < 1e-4 * abs(values[0]) else None
    for each in itertools.chain(off, scaled(value, keep_prob, "biases")):
        yield Finding(f"bias-{each.name}", each.sentence)


@exercise(
    returns=Array(
        "The output", lambda x, W: (len(x), len(W)), "One row per example, one column per output."
    ),
    traits=first(dropconnect_traits),
    done="a mask for each weight, bias and example; the mean kept.",
)
def dropconnect(x, W, b, keep_prob, rng, *, g=lambda z: z, see=lambda x: x, sign=1, w=lambda W: W):
    """g of the masked sums, with a coin for each weight and bias of each example."""
    M = rng.random((len(x), *W.shape)) < keep_prob  # examples, outputs, inputs
    m = rng.random((len(x), *b.shape)) < keep_prob
    return g((np.einsum("noi,oi,ni->no", M, w(W), see(x)) + sign * m * b) / keep_prob)


dropconnect.wrong(
    "activation",
    "An activation is applied. Return the pre-activation, the masked sum itself; what follows it "
    "is another layer.",
    {"g": lambda z: np.maximum(z, 0)},
    {"g": np.tanh},
    {"g": expit},
    {"g": lambda z: softmax(z, axis=-1)},
    {"g": lambda z: np.where(z > 0, z, 0.01 * z)},
)
dropconnect.wrong(
    "inputs-mistaken",
    "With keep_prob=1 the output must be W x + b; in yours the inputs or weights are squared, or "
    "have no part. A term of the sum is mask * weight * input.",
    {"see": np.square},
    {"see": np.ones_like},
    {"see": np.abs},
    {"w": np.square},
    {"w": np.ones_like},
    {"w": np.abs},
)


# DropConnect at prediction

W_, B_ = np.array([[0.5, -2, 1, 1.5], [3, 1, -1, 0.25], [1, 1, 2, -0.5], [-1, 0.4, 0.3, 2],
                   [0.2, -0.6, 1.7, 0.9]]), np.array([2.0, -3, 1, 0.7, -1.2])  # fmt: skip
ROWS = np.array([[1.0, -0.5, 2, 3], [-1.5, 0.8, 0.6, 0.4], [0.3, 2, -1, -0.7]])


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
        return out.reshape(copies, *ROWS.shape[:1], len(W))

    yield from noise_traits(draw)
    for keep_prob in (0.65, 0.3):
        yield from moment_traits(draw(1000, keep_prob), W, b, keep_prob)
    yield from average_traits(draw, W, b, 0.6)
    yield from fresh(lambda rng: draw(1, 0.5, np.tanh, 4, rng))
    for n, n_outputs in ((5, 5), (1, 1)):
        x, W, b = data.normal(size=(n, 4)), W[:n_outputs], b[:n_outputs]
        given = {"x": x, "W": W, "b": b, "keep_prob": 1.0, "activation": np.tanh}
        yield from found(
            not np.allclose(run(**given, n_samples=3, rng=rng), np.tanh(x @ W.T + b), atol=1e-5),
            "keep-prob-1",
            "With keep_prob=1 nothing is dropped: the variance is 0, and the result is the "
            "activation of W x + b.",
        )


def noise_traits(draw):
    """Whether there is noise, of continuous values, and whether examples or outputs share it."""
    u, again = draw(1000, 0.65), draw(1000, 0.65)
    same, constant = np.array_equal(u, again), np.ptp(u, axis=0).max() < 1e-9
    yield from found(
        same and constant and np.allclose(draw(1, 0.65, np.square), u[:1] ** 2, rtol=1e-4),
        "activation-of-mean",
        "There is no noise in it: this is the activation of the mean. The mean of an activation is "
        "another number, unless the activation is a straight line. Sample the pre-activation, "
        "apply the activation to each sample, and average last.",
    )  # fmt: skip
    yield from found(
        same and constant, "no-samples",
        "There is no chance in it: the mean activation is computed some other way. Draw n_samples "
        "from the Gaussian with rng, and average the activation over them.",
    )  # fmt: skip
    plain, squared = (draw(2, 0.65, activation, 2, np.random.default_rng(3))
                      for activation in (identity, np.square))  # fmt: skip
    yield from found(np.array_equal(plain, squared) or u.min() >= 0, "ignores-activation",
                     "Another activation than the given one acts on the samples, or none does. "
                     "Apply the function `activation`, and nothing else, to each sample, then "
                     "average.")  # fmt: skip
    yield from found(same, "shared-by-calls", "Two calls drew the same noise: is a generator "
                     "seeded inside your function? Draw from the rng it is given.")  # fmt: skip
    shared = "All {0} got the same noise. The masks of different {0} are independent, so draw a " \
        "Gaussian number for each example, each output and each sample."  # fmt: skip
    yield from found(constant, "shared-by-examples", shared.format("examples"))
    values = len(np.unique(u[:, 0, 0].round(6)))
    yield from found(
        1 < values < 100, "real-masks",
        "Only a few different values turn up: real masks were drawn, or something is rounded. The "
        "point is to do without: draw the pre-activation from a Gaussian with rng.normal.",
    )  # fmt: skip
    of_outputs = np.corrcoef(u[:, 0].T)
    yield from found(np.abs(of_outputs).min() > 0.99, "shared-by-outputs",
                     shared.format("outputs"))  # fmt: skip
    ratio = u.var(axis=0).mean() / draw(200, 0.65, identity, 25).var(axis=0).mean()
    yield from found(
        1 / 3 < ratio < 3, "one-draw",
        "With n_samples=25 the result scatters as with n_samples=1. Each sample needs noise of its "
        "own, drawn inside the loop or with a first axis of samples; and it is n_samples that are "
        "averaged.",
    )  # fmt: skip


def explained(check, fits):
    """The first wrong answer, or pair of such, of a table whose settings fit."""
    rows = [(each, each.settings) for each in check.table if each.settings]
    pairs = ((one, mine | other) for (one, mine), (_, other) in itertools.combinations(rows, 2)
             if not mine.keys() & other.keys())  # fmt: skip
    with engine.silenced():
        return next((wrong for wrong, settings in itertools.chain(rows, pairs) if fits(settings)),
                    None)  # fmt: skip


def moment_traits(u, W, b, keep_prob):
    """Whether the samples have mean and variance of the masked sums, and are Gaussian."""
    mean, variance = moments(ROWS, W, b, keep_prob)
    n, spread = len(u), u.var(axis=0)

    def centred(settings):
        off = np.abs(u.mean(axis=0) - moments(ROWS, W, b, keep_prob, **settings)[0])
        return (off < SIGMAS * np.sqrt(spread / n)).all()

    def fits(settings):
        ratio = spread / moments(ROWS, W, b, keep_prob, **settings)[1]
        off = np.abs(ratio - 1)  # of all together, they tell more
        return (off < SIGMAS * math.sqrt(2 / n)).all() and \
            abs(ratio.mean() - 1) < SIGMAS * math.sqrt(2 / n / ratio.size)  # fmt: skip

    for test, what, right, yours in ((centred, "means", mean, u.mean(axis=0)),
                                     (fits, "variances", variance, spread)):  # fmt: skip
        if not test({}):
            wrong = explained(gaussian_inference, test)
            if wrong:
                yield Finding(wrong.name, wrong.sentence)
            yield Finding(
                f"{what}-off",
                f"With keep_prob={keep_prob:g}, n_samples=1 and an activation that does nothing, "
                f"the results for one example must have {what} {right[0].round(2)}; yours have "
                f"{yours[0].round(2)}.",
            )
    z = (u - mean) / np.sqrt(variance)
    distance, tails = stats.kstest(z.ravel(), "norm").pvalue, stats.kurtosis(z, axis=None)
    yield from found(distance < 1e-11 or abs(tails) > 7.5 * math.sqrt(24 / z.size), "not-gaussian",
                     "Mean and variance are right, but the samples are not Gaussian. Draw them "
                     "with rng.normal.")  # fmt: skip
    outputs = "The samples of different outputs are correlated. With DropConnect, unlike with " \
        "dropout, outputs share no mask: their noise is independent."  # fmt: skip
    names = ("alike-outputs", "opposite-outputs", "common-draw-per-example")
    yield from independent(z.reshape(-1, len(W)), ("example", "output"), "samples",
                           dict.fromkeys(names, outputs))  # fmt: skip


def average_traits(draw, W, b, keep_prob, n_samples=4):
    """Whether n_samples are averaged, and after the activation."""
    mean, variance = moments(ROWS, W, b, keep_prob)
    many = draw(400, keep_prob, identity, 25)
    shrunk = (variance / many.var(axis=0)).mean()
    by = (many.mean(axis=0) / mean).mean()
    off = np.abs(many.mean(axis=0) - mean) > SIGMAS * many.std(axis=0) / math.sqrt(len(many)) + 1e-6
    yield from found(off.any(), "not-averaged", "With n_samples=25 the result is about "
                     f"{by:.3g} times what it is with n_samples=1. Divide the sum over the "
                     "samples by n_samples, once.")  # fmt: skip
    yield from found(
        abs(shrunk / 25 - 1) > SIGMAS * math.sqrt(2 / many.size), "not-independent-samples",
        "An average of n_samples=25 independent samples has a variance 25 times smaller than one; "
        f"yours is {shrunk:.4g} times smaller.",
    )  # fmt: skip
    squares = draw(800, keep_prob, np.square, n_samples)
    reach = SIGMAS * squares.std(axis=0) / math.sqrt(len(squares)) + 1e-9

    def near(values):
        return (np.abs(squares.mean(axis=0) - values) < reach).all()

    right = mean**2 + variance
    if near(right):
        return
    yield from found(
        near(mean**2 + variance / n_samples) and (squares >= 0).all(), "averaged-first",
        "The samples were averaged before the activation, which tends to the activation of the "
        "mean. It is the ACTIVATIONS that are averaged: apply it to each sample first.",
    )  # fmt: skip
    yield from found(
        near(mean**2), "noise-after-activation",
        "The noise is added to the activation of the mean. It belongs to the pre-activation: add "
        "it there, then apply the activation to each sample.",
    )  # fmt: skip
    yield Finding(
        "activations-off",
        "With activation=np.square the result must be near mean^2 + variance of the "
        f"pre-activation, {right[0, 0]:.2f}; yours is {squares[:, 0, 0].mean():.2f}. Apply the "
        "activation to each sample, once, and average over the samples.",
    )


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
    traits=first(inference_traits),
    done="mean and variance right, activations averaged.",
)
def gaussian_inference(x, W, b, keep_prob, activation, n_samples, rng, **settings):
    """Mean activation over Gaussian samples of the pre-activation."""
    mean, variance = moments(x, W, b, keep_prob, **settings)
    u = rng.normal(mean, np.sqrt(variance), (n_samples, len(x), len(W)))
    return activation(u).mean(axis=0)


SCALED = " In this exercise masks are scaled by 1/keep_prob, so the mean is W x + b."
gaussian_inference.wrong(
    "mean-times-keep",
    "The mean of the pre-activation is keep_prob times too small, as for masks without a scale."
    + SCALED,
    {"mean": lambda x, W, b, p: p * (x @ W.T + b)},
    {"mean": lambda x, W, b, p: p * x @ W.T + b},
    {"mean": lambda x, W, b, p: x @ W.T + p * b},
)
gaussian_inference.wrong(
    "mean-divided",
    "The mean of the pre-activation is divided by keep_prob. The scaled mask has mean 1 already."
    + SCALED,
    {"mean": lambda x, W, b, p: (x @ W.T + b) / p},
    {"mean": lambda x, W, b, p: x @ W.T / p + b},
)
gaussian_inference.wrong(
    "mean-without-bias",
    "The mean of the pre-activation is without the bias, or subtracts it." + SCALED,
    {"mean": lambda x, W, b, p: x @ W.T},
    {"mean": lambda x, W, b, p: x @ W.T - b},
)
gaussian_inference.wrong(
    "no-mean",
    "The mean of the pre-activation is missing: it is 0." + SCALED,
    {"mean": lambda x, W, b, p: 0 * (x @ W.T)},
)
gaussian_inference.wrong(
    "of-another-example",
    "For a batch of different examples, mean or variance are those of another one, or of their "
    "mean. Each example has its own: W x + b, and the factor times W^2 x^2 + b^2.",
    {"mean": lambda x, W, b, p: x[:1] @ W.T + b + 0 * x @ W.T},
    {"mean": lambda x, W, b, p: x.mean(axis=0) @ W.T + b + 0 * x @ W.T},
    {"of": lambda x: x[:1]},
    {"of": lambda x: x.mean(axis=0)},
    {"squares": lambda x, W, b: x[:1] ** 2 @ (W**2).T + b**2 + 0 * x @ W.T},
    {"squares": lambda x, W, b: (x**2).mean(axis=0) @ (W**2).T + b**2 + 0 * x @ W.T},
)
gaussian_inference.wrong(
    "variance-without-bias",
    "The bias is forgotten in the variance. It has a mask too, so it adds its square.",
    {"squares": lambda x, W, b: x**2 @ (W**2).T},
)
gaussian_inference.wrong(
    "not-squared",
    "Weights, inputs or the bias are not squared in the variance. It is a variance: each is "
    "squared, entry by entry, before they are multiplied and summed.",
    {"squares": lambda x, W, b: x**2 @ (W**2).T + np.abs(b)},
    {"squares": lambda x, W, b: x**2 @ (W**2).T + b},
    {"squares": lambda x, W, b: x**2 @ np.abs(W).T + b**2},
    {"squares": lambda x, W, b: np.abs(x) @ (W**2).T + b**2},
    {"squares": lambda x, W, b: np.abs(x) @ np.abs(W).T + np.abs(b)},
    {"squares": lambda x, W, b: np.abs(x @ W.T + b)},
    {"squares": lambda x, W, b: np.abs(x @ W.T) + b**2},
)
gaussian_inference.wrong(
    "squared-as-a-whole",
    "The sum over the inputs is squared as a whole. The masks are independent, so the variances of "
    "the terms add up: square each term, then sum.",
    {"squares": lambda x, W, b: (x @ W.T) ** 2 + b**2},
    {"squares": lambda x, W, b: (x @ W.T + b) ** 2},
    {"squares": lambda x, W, b: (np.abs(x) @ np.abs(W).T + np.abs(b)) ** 2},
)
gaussian_inference.wrong(
    "variance-without-weights",
    "Weights or inputs have no part in the variance. A mask multiplies: what is large gets large "
    "noise.",
    {"squares": lambda x, W, b: 1 + 0 * x @ W.T},
    {"squares": lambda x, W, b: (W**2).sum(axis=1) + b**2 + 0 * x @ W.T},
    {"squares": lambda x, W, b: (x**2).sum(axis=1, keepdims=True) + b**2 + 0 * x @ W.T},
)
FACTOR = "The factor of the variance is "
gaussian_inference.wrong(
    "factor-without-scale",
    FACTOR + "keep_prob * (1 - keep_prob), that of zeros and ones without a scale. Scaled by "
    "1/keep_prob, a mask has its variance divided by keep_prob squared: (1 - keep_prob) / "
    "keep_prob.",
    {"factor": lambda p: p * (1 - p)},
)
gaussian_inference.wrong(
    "slides-slip",
    FACTOR + "1 - keep_prob, which is what the slides' p(1 - p)/p comes to. That is a slip: "
    "dividing by p divides the variance p(1 - p) by p squared, which leaves (1 - keep_prob) / "
    "keep_prob.",
    {"factor": lambda p: 1 - p},
)
gaussian_inference.wrong(
    "factor-upside-down",
    FACTOR + "keep_prob / (1 - keep_prob), upside down: did you take keep_prob for the probability "
    "to drop? It is (1 - keep_prob) / keep_prob, and vanishes where everything is kept.",
    {"factor": lambda p: p / (1 - p)},
)
gaussian_inference.wrong(
    "factor-divided-twice",
    FACTOR + "(1 - keep_prob) / keep_prob^2, divided by keep_prob once too often.",
    {"factor": lambda p: (1 - p) / p**2},
)
gaussian_inference.wrong(
    "mean-square-for-variance",
    FACTOR + "1 / keep_prob, the mean square of a scaled mask. Its variance is less, by the square "
    "of its mean: 1/keep_prob - 1, that is (1 - keep_prob) / keep_prob.",
    {"factor": lambda p: 1 / p},
)
gaussian_inference.wrong(
    "no-factor",
    FACTOR + "1, or keep_prob. It is the variance of a scaled mask: (1 - keep_prob) / keep_prob.",
    {"factor": lambda p: 1.0},
    {"factor": lambda p: p},
)
gaussian_inference.wrong(
    "variance-for-deviation",
    "The variance is passed as the standard deviation. rng.normal takes the standard deviation: "
    "the ROOT of the variance.",
    {"power": 2},
)
gaussian_inference.wrong(
    "root-of-a-part",
    "The root is taken of a part of the variance only. The standard deviation is the root of the "
    "whole: of the factor (1 - keep_prob) / keep_prob, and of the sum of squares.",
    {"factor": lambda p: ((1 - p) / p) ** 2},
    {"factor": lambda p: ((1 - p) / p) ** 0.5},
    {"squares": lambda x, W, b: (x**2 @ (W**2).T + b**2) ** 2},
)
gaussian_inference.wrong(
    "root-twice",
    "The root of the variance is taken twice. Once makes it a standard deviation.",
    {"power": 0.5},
)
