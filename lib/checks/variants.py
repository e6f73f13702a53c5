"""Checks of the exercises on variants: DropConnect, fast, variational and recurrent dropout."""

import itertools
import math
from functools import partial

import numpy as np
from scipy import stats
from scipy.special import erf, expit, ndtr

from lib.checks.engine import Array, Finding, Number, close, exercise, refuse, silenced, summary_of
from lib.checks.traits import FACTORS, SIGMAS, VARIANCES, coins, fresh, independent, scaled
from lib.masks import all_masks
from lib.theory.variational import MOLCHANOV

summary = summary_of("variants")


def refuse_known(check, fits):
    """Refuse what a wrong answer of a table explains, whose settings fit."""
    with silenced():
        for each in check.table:
            refuse(fits(each.settings), each.name, each.sentence)


# The moments of a rectified Gaussian

ROOT = math.sqrt(2 * math.pi)


def rectified_cases(data):
    m, v = data.uniform(-2, 3, (3, 8)), data.uniform(0.3, 5, (3, 8))
    pairs = [(m[0], v[0]), (m[1], v[0]), (m[0], v[1]), (m, v)]
    edge = [(m[:1, 0], v[:1, 0]), (np.array([2.0, -3, 0, 1.5]), np.array([0.0, 0, 0, 1])),
            (np.zeros((2, 1)), np.array([[4.0], [0]])),
            (np.array([0.01, -0.02]), np.array([1e-4, 3e-4]))]  # fmt: skip
    return [[{"mean": m, "variance": v} for m, v in some] for some in (pairs, edge)]


@exercise(
    returns=tuple(Array(f"The {name}", lambda mean: mean.shape, "One for each entry of the arrays.",
                        name) for name in ("mean", "variance")),
    cases=rectified_cases,
    otherwise="The mean is mean * Phi + s * phi and the mean square (mean^2 + s^2) * Phi + mean * "
    "s * phi, with s^2 the variance, and Phi and phi at mean / s. A variance is the mean square "
    "minus the squared mean. Where s is 0, max(0, mean) and 0.",
    done="mean and variance of a rectified Gaussian, variance 0 too.",
)  # fmt: skip
def fast_relu(
    mean, variance, *, s=np.sqrt, Phi=ndtr, phi=lambda a: np.exp(-(a**2) / 2) / ROOT,
    P_at=lambda mu, s: mu / s, p_at=lambda mu, s: mu / s,
    first=lambda mu, s, P, p: mu * P + s * p,
    spread=lambda m, q, mu: q - m**2, safe=lambda s: np.where(s > 0, s, 1),
    zero=lambda mu, m, v: (np.maximum(mu, 0), 0 * mu),
):  # fmt: skip
    """Mean and variance of max(0, z), for z ~ N(mean, variance)."""
    s = s(variance)
    P, p = Phi(P_at(mean, safe(s))), phi(p_at(mean, safe(s)))
    m = first(mean, s, P, p)
    v = spread(m, (mean**2 + s**2) * P + mean * s * p, mean)
    return tuple(np.where(s > 0, *each) for each in zip((m, v), zero(mean, m, v), strict=True))


# fmt: off
wrong = fast_relu.wrong
wrong("wrong-way-round", "The two are the wrong way round: return the mean first, then the "
      "variance.", lambda mean, variance: fast_relu.right(mean, variance)[::-1])
wrong("variance-for-deviation", "The variance is taken for the standard deviation. s is the root "
      "of the variance, and the formulas take mean / s.", {"s": lambda v: v},
      {"P_at": lambda mu, s: mu / s**2, "p_at": lambda mu, s: mu / s**2})
wrong("taken-at-mean", "Phi or phi is not taken at mean / s. They are those of the STANDARD "
      "Gaussian: take both there.", {"P_at": lambda mu, s: mu, "p_at": lambda mu, s: mu},
      {"P_at": lambda mu, s: mu}, {"p_at": lambda mu, s: mu})
wrong("other-density", "phi is the density of the standard Gaussian, exp(-a^2 / 2) / sqrt(2 pi). "
      "Yours is another.", {"phi": lambda a: np.exp(-(a**2) / 2)},
      {"phi": lambda a: np.exp(-(a**2)) / ROOT})
wrong("other-cdf", "Phi is the distribution function of the standard Gaussian, ndtr. Yours is "
      "another.", {"Phi": erf}, {"Phi": lambda a: (1 + erf(a)) / 2}, {"Phi": expit},
      {"Phi": lambda a: expit(1.702 * a)})
wrong("no-density", "The part s * phi(mean / s) is missing. A Gaussian above 0 is above its own "
      "mean on average.", {"first": lambda mu, s, P, p: mu * P})
wrong("below-zero", "Phi is taken at -mean / s: the probability to be BELOW 0. The ReLU passes "
      "what is above.", {"P_at": lambda mu, s: -mu / s})
wrong("minus-mean-before", "Subtract the square of the ReLU's own mean, not of the mean before it, "
      "or of its ReLU.", {"spread": lambda m, q, mu: q - mu**2},
      {"spread": lambda m, q, mu: q - np.maximum(mu, 0) ** 2})
wrong("relu-of-mean", "This is the ReLU of the mean. The mean of the ReLU is larger: the noise is "
      "cut off on one side only.", {"first": lambda mu, s, P, p: np.maximum(mu, 0)})
wrong("given-above", "This is the mean of what is above 0, given that it IS above. The zeros "
      "count too: multiply by the probability Phi(mean / s).",
      {"first": lambda mu, s, P, p: mu + s * p / P})
wrong("mean-square", "This is the mean SQUARE of the ReLU. Its variance is less: subtract the "
      "square of the mean (of the ReLU).", {"spread": lambda m, q, mu: q})
wrong("minus-unsquared-mean", "The mean is subtracted from the mean square. Subtract the SQUARE "
      "of the mean.", {"spread": lambda m, q, mu: q - m})
wrong("deviation", "This is the standard deviation. Return its square, the variance.",
      {"spread": lambda m, q, mu: np.sqrt(q - m**2)})
wrong("variance-0", "Where the variance is 0, nothing is random: the mean is max(0, mean), and "
      "the variance 0. mean / s divides by 0 there: np.where(s > 0, s, 1) is safe to divide by.",
      *(partial(fast_relu.right, zero=zero, safe=safe)
        for safe in (lambda s: np.where(s > 0, s, 1), lambda s: s)
        for zero in (lambda mu, m, v: (m, v), lambda mu, m, v: (np.maximum(mu, 0), v))),
      *(partial(fast_relu.right, zero=zero)
        for zero in (lambda mu, m, v: (mu, v), lambda mu, m, v: (0 * mu, v))),
      lambda m, v: fast_relu.right(m, v if v.all() else 0 * v))
# fmt: on


# The loss of sparse variational dropout

K1, K2, K3 = MOLCHANOV


def bound_cases(data):
    def case(batch, shape, n_train):
        return {"log_likelihoods": -data.exponential(1.3, batch),
                "log_alpha": data.uniform(-4, 4, shape), "n_train": n_train}  # fmt: skip

    one, other = case(6, (3, 5), 40), case(6, (3, 5), 40)
    likelihoods, positive = other["log_likelihoods"], np.abs(other["log_alpha"]) + 0.1
    cases = [one, one | {"log_likelihoods": likelihoods}, one | {"log_alpha": positive},
             one | {"n_train": 90}, case(50, (4, 2), 300)]  # fmt: skip
    far = [case(2, (2, 3), 10) | {"log_alpha": np.array([[a, -1.0]])} for a in (-800.0, 800.0)]
    return [cases, [case(1, (1, 1), 7), *far]]


@exercise(
    returns=Number(
        "The loss",
        infinite="Stay in logarithms: log_likelihoods and log_alpha may be negative, and far out "
        "alpha or 1/alpha is beyond the largest number. log(1 + 1/alpha) is np.logaddexp(0, "
        "-log_alpha), and expit never overflows.",
    ),
    cases=bound_cases,
    otherwise="The loss is the mean of -log_likelihoods plus the sum of all KL over n_train, with "
    "-KL = k1 sigmoid(k2 + k3 log_alpha) - 1/2 log(1 + 1/alpha) - k1. Nothing is clipped.",
    done="mean loss plus KL / N, finite for any alpha.",
)
def negative_bound(
    log_likelihoods, log_alpha, n_train, *, data=lambda ll, N: -ll.mean(), sign=1, total=np.sum,
    weight=lambda ll, N: 1 / N, see=lambda a: a, at=lambda a: a, k=(K1, K1, K2, K3),
    tail=lambda a: np.logaddexp(0, -a), half=0.5, whole=lambda ll, N: 1,
):  # fmt: skip
    """-mean log-likelihood + KL / N, by Molchanov's approximation."""
    a = see(log_alpha)
    kl = k[0] - k[1] * expit(k[2] + k[3] * at(a)) + half * tail(a)
    loss = data(log_likelihoods, n_train) + sign * weight(log_likelihoods, n_train) * total(kl)
    return whole(log_likelihoods, n_train) * loss


# fmt: off
wrong = negative_bound.wrong
wrong("no-kl", "The KL is missing: this is the data's part alone.", {"total": lambda kl: 0.0})
wrong("kl-sign", "The KL has the wrong sign: this loss falls as the noise gets SMALLER. The "
      "formula of the exercise is that of -KL; the loss adds +KL, so noisy weights are cheap.",
      {"sign": -1})
wrong("likelihood-sign", "The log-likelihood has the wrong sign: a loss falls as the data gets "
      "likelier.", {"data": lambda ll, N: ll.mean()}, {"data": lambda ll, N: ll.mean(), "sign": -1})
wrong("of-training-set", "This is the loss of the whole training set, n_train times too large. "
      "Here it is one per example: the mean of the log-likelihoods, and KL / N.",
      {"whole": lambda ll, N: N})
wrong("not-divided-by-n", "The KL is not divided by n_train. It is paid once for the whole "
      "training set, and the loss is one per EXAMPLE: each bears 1/N of it.",
      {"weight": lambda ll, N: 1})
wrong("kl-by-minibatch", "The KL is divided by the size of the minibatch. It is paid once for the "
      "whole training set: divide by n_train.", {"weight": lambda ll, N: 1 / len(ll)})
wrong("kl-averaged", "Every weight costs its own KL, so the KL is SUMMED over the weights; yours "
      "is a mean, over all of them, or over rows or columns.", {"total": np.mean},
      {"total": lambda kl: kl.sum() / len(kl)}, {"total": lambda kl: kl.sum() / kl.shape[1]})
wrong("likelihood-summed", "The log-likelihoods are summed over the minibatch. The loss is one "
      "per example: their mean, and KL / N beside it.", {"data": lambda ll, N: -ll.sum()})
wrong("alpha-for-log-alpha", "log_alpha holds log(alpha). The sigmoid takes k2 + k3 * log_alpha "
      "as it is, without np.exp or np.log, and alpha in log(1 + 1/alpha) is exp(log_alpha).",
      {"see": np.exp}, {"at": np.exp}, {"at": np.log}, {"tail": lambda a: np.log1p(1 / a)})
wrong("one-plus-alpha", "The logarithm takes 1 + alpha. It is log(1 + 1/alpha): np.logaddexp(0, "
      "-log_alpha).", {"tail": lambda a: np.logaddexp(0, a)})
wrong("no-half", "log(1 + 1/alpha) lacks its factor 1/2, in front of the logarithm.", {"half": 1})
wrong("no-k1", "The constant k1 is missing: without it the KL does not tend to 0 as alpha grows.",
      {"k": (0, K1, K2, K3)})
wrong("clipped", "At log_alpha = -800 or 800 the loss is {yours}, and right is {right}. Is "
      "log_alpha or alpha clipped, or something small added to it? Stay in logarithms: "
      "np.logaddexp(0, -log_alpha).",
      *(lambda ll, a, N, m=m: negative_bound.right(ll, np.clip(a, -m, m), N)
        for m in (5, 8, 10, 20, 50, 100, 700)),
      *(partial(negative_bound.right, tail=lambda a, m=m, f=f: np.log(1 + 1 / f(np.exp(a), m)))
        for m in (1e-8, 1e-10, 1e-12) for f in (np.add, np.maximum)))
# fmt: on


# A recurrent network whose mask lasts


def network(data, n=400, n_steps=5, hidden=20, inputs=3, keep_prob=0.8):
    return {
        "x": data.normal(size=(n, n_steps, inputs)), "W": data.normal(size=(hidden, inputs)) / 3,
        "U": 0.6 * np.linalg.qr(data.normal(size=(hidden, hidden)))[0],
        "b": data.choice([-1, 1], hidden) * data.uniform(0.3, 0.6, hidden), "keep_prob": keep_prob,
    }  # fmt: skip


# fmt: off
def rnn_traits(run, data):
    for sizes in ((400, 5, 20, 3, 0.8), (300, 4, 12, 2, 0.3), (1, 1, 3, 2, 0.5)):
        given, rng = network(data, *sizes), np.random.default_rng(data)
        right = run_rnn.right(**given, phase="test", rng=rng)
        train, test, again = (run(**given, phase=p, rng=rng) for p in ("train", "test", "test"))
        random = not np.array_equal(test, again)
        refuse(random and np.allclose(train, right), "phases-swapped",
               "The two phases are swapped: the mask is on at prediction, and off in training.")
        refuse(random, "mask-at-prediction", "The mask is still on at prediction: the same "
               "sequences came out differently. There nothing is dropped.")
        if not np.allclose(test, right, 1e-4, 1e-5):
            refuse_known(run_rnn, lambda settings, given=given, test=test: close(
                test, run_rnn.right(**given, phase="test", rng=None, **settings), 1e-4))
            at = np.unravel_index(np.abs(test - right).argmax(), test.shape)
            refuse(True, "prediction-off", "Without masks the states must be h_t = tanh(W x_t + U "
                   "h_(t-1) + b), beginning with a state of 0. At [sequence, step, unit] = "
                   f"{[*map(int, at)]} that is {right[at]:.4f}; yours is {test[at]:.4f}.")
        if len(train) > 1:
            yield from state_traits(train, **given)
    yield from fresh(lambda rng: run(**network(np.random.default_rng(0)), phase="train", rng=rng))
    whole = run(**given | {"keep_prob": 1.0}, phase="train", rng=rng)
    refuse(not np.allclose(whole, test, atol=1e-5), "keep-prob-1",
           "With keep_prob=1 nothing is dropped: training gives what prediction gives.")


def state_traits(train, x, W, U, b, keep_prob):
    """Read off by what the old states were multiplied, and look at it."""
    first, old = np.tanh(x[:, 0] @ W.T + b), train[:, :-1]
    refuse((train == 0).any(), "outputs-masked", "The outputs themselves are masked: some are 0. "
           "The mask belongs to the old state on its way into the next step, m * h; what is "
           "RETURNED, and what the mask is applied to, is h without a mask.")
    refuse(not np.allclose(train[:, 0], first, atol=1e-5), "first-step-masked",
           "The first step differs from tanh(W x_1 + b). The state before it is 0, so the mask has "
           "nothing to drop there yet: inputs, weights, bias and what is returned have no mask.")
    bounded = np.clip(train[:, 1:], -1 + 1e-14, 1 - 1e-14)
    received = np.arctanh(bounded) - x[:, 1:] @ W.T - b  # sequences, steps, hidden

    def read(received, old):
        """By what old states were multiplied: NaN where 0/0, 0 where dropped. Is it one number?"""
        m = np.divide(received, old, out=np.full_like(old, np.nan), where=np.abs(old) > 0.05)
        kept = m[np.abs(m) > 0.02]
        return m, kept.size == 0 or np.ptp(kept) < 0.01 * np.abs(kept).max()

    m, one = read(received @ np.linalg.inv(U).T, old)
    refuse(not one and read(received, old @ U.T)[1], "masked-after-u", "The mask multiplies U h. "
           "It belongs to the state itself, before U: U (m * h). A unit whose state is dropped is "
           "then dropped for ALL units that listen to it.")
    refuse(not one, "other-mask", "What reaches a step is not U (m * h), with an m that holds "
           "zeros and one other number. Is the mask on the weights U, or divided by the share that "
           "was kept? It has an entry, 0 or 1/keep_prob, for each sequence and hidden unit.")
    kept, lost = (np.abs(m) > 0.02).any(axis=1), (np.abs(m) <= 0.02).any(axis=1)
    refuse(not lost.any(), "no-mask", "Nothing is dropped in training: where is the mask?")
    refuse((kept & lost).any(), "new-each-step", "The mask changes from step to step. Then the "
           "memory of a unit survives T steps with probability keep_prob^T only. Draw ONE mask for "
           "each sequence, before the loop over time, and use it at every step.")
    yield from coins(kept, keep_prob, ("sequence", "unit"), "states")
    yield from scaled(m[np.abs(m) > 0.02].mean(), keep_prob, "The states that are")
# fmt: on


@exercise(
    returns=Array("The result", lambda x, b: (*x.shape[:2], len(b)), "All states: sequences, "
                  "steps, hidden units. np.stack(states, axis=1) puts time second."),
    traits=rnn_traits, at_once=True, phases=lambda data: network(data, 4) | {"rng": data},
    done="one mask for each sequence, on the old state, scaled; none at prediction.",
)  # fmt: skip
def run_rnn(
    x, W, U, b, keep_prob, phase, rng, *, g=np.tanh, factor=lambda p: 1.0, turn=lambda U: U.T,
    bias=1, out=lambda h, p: h, time=1, returned=lambda states: states,
):  # fmt: skip
    """h_t = tanh(W x_t + U (m * h_(t-1)) + b), one m for each sequence."""
    h, states, mask = np.zeros((len(x), len(b))), [], factor(keep_prob)
    if phase == "train":
        mask = (rng.random(h.shape) < keep_prob) / keep_prob
    elif phase != "test":
        raise ValueError(phase)
    for x_t in np.swapaxes(x, 0, 1)[::time]:
        h = g(x_t @ W.T + (mask * h) @ turn(U) + bias * b)
        states.append(out(h, keep_prob))
    return np.stack(returned(states), axis=1)


# fmt: off
wrong = run_rnn.wrong
wrong("factor-at-prediction", "At prediction a factor is applied. The mask is scaled in training, "
      "so prediction needs none.", {"factor": lambda p: p}, {"factor": lambda p: 1 / p},
      {"out": lambda h, p: p * h})
wrong("no-recurrence", "The old state has no part in the new one: where is U h?",
      {"factor": lambda p: 0.0})
wrong("u-transposed", "U is transposed. Row i of U holds the weights INTO unit i: for rows of "
      "states that is h @ U.T.", {"turn": lambda U: U})
wrong("no-bias", "The bias is missing, or subtracted. Here it is added.", {"bias": 0}, {"bias": -1})
wrong("other-activation", "The activation is another one, or missing. This network has tanh.",
      {"g": expit}, {"g": lambda z: np.maximum(z, 0)}, {"g": lambda z: z})
wrong("begins-with-h0", "The states that are returned begin with h_0 = 0, and the last is "
      "missing. Return h_1, h_2 and so on: append the new state, not the old one.",
      {"returned": lambda states: [0 * states[0], *states[:-1]]})
wrong("backwards", "Time runs backwards: begin with step 0, and return the states in their order.",
      {"time": -1}, {"returned": lambda states: states[::-1]})
# fmt: on


# DropConnect

WEIGHT_MASKS = {
    "shared-by-outputs": "In each example all outputs lost the same inputs. That is dropout on the "
    "inputs. DropConnect tosses a coin for each WEIGHT: draw an array (examples, outputs, inputs).",
    "shared-by-inputs": "In each example an output lost all of its weights, or none. That is "
    "dropout of the units. DropConnect tosses a coin for each WEIGHT: draw an array (examples, "
    "outputs, inputs).",
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


# fmt: off
def dropconnect_traits(run, data):
    for keep_prob, n, n_outputs, n_inputs in ((0.75, 300, 4, 5), (0.3, 250, 5, 4)):
        rng, no_bias = np.random.default_rng(data), np.zeros(n_outputs)
        small = {"x": data.normal(size=(30, 3)), "W": data.normal(size=(6, 3)),
                 "b": data.uniform(-2, 2, size=6)}

        def draw(x, W, b, keep_prob=keep_prob, rng=rng):
            return run(x=x, W=W, b=b, keep_prob=keep_prob, rng=rng)

        def calls(x, W, b, draw=draw):
            return np.array([draw(x, W, b) for _ in range(4)])

        near_1 = small | {"keep_prob": 1 - 1e-12}  # whoever divides by 1 - keep_prob can
        right, yours = small["x"] @ small["W"].T + small["b"], draw(**near_1)
        for g in (lambda z: np.maximum(z, 0), np.tanh, expit):
            refuse(close(yours, g(right), 1e-4), "activation", "An activation is applied. Return "
                   "the pre-activation, the masked sum itself; what follows it is another layer.")
        # With weights 1, 2, 4 ... and inputs of 1, a sum tells which weights are in it.
        x, W = np.ones((n, n_inputs)), np.tile(2.0 ** np.arange(n_inputs), (n_outputs, 1))
        yield from weight_traits(calls(x, W, no_bias), keep_prob, n_inputs)
        bias_only = np.zeros((n, 3)), np.ones((10, 3)), np.full(10, 2.0)
        yield from bias_traits(calls(*bias_only) / 2, keep_prob)
        together = read_off(calls(x, W, no_bias + 2**n_inputs), n_inputs + 1, keep_prob)
        if together:
            kept = together[0] - keep_prob
            tied = (kept[..., :-1] * kept[..., -1:]).mean(axis=(0, 1, 2))
            refuse(np.abs(tied).max() > 0.05, "bias-tied-to-weight", "The bias shares a mask entry "
                   "with a weight. All entries are independent: draw the bias's mask anew.")
        for n, n_outputs in ((150, 2), (1, 1)):
            x, W, b = (data.normal(size=size) for size in ((n, 3), (n_outputs, 3), n_outputs))
            terms = np.concatenate([x[:, None] * W, np.tile(b[:, None], (n, 1, 1))], axis=2)
            possible = terms @ all_masks(4).T / keep_prob  # examples, outputs, masks
            distance = np.abs(draw(x, W, b)[..., None] - possible).min(axis=-1)
            refuse(distance.max() > 1e-4, "no-possible-sum", "With inputs other than 1, an output "
                   "is none of the sums that a mask can leave. A term is mask * weight * input: "
                   "multiply by x, and sum over the inputs.")
        yield from fresh(lambda rng, draw=draw, small=small: draw(**small, rng=rng))
        whole = draw(**small | {"keep_prob": 1.0})
        refuse(not close(whole, right, 1e-5), "keep-prob-1", "With keep_prob=1 nothing is dropped, "
               "and the output is W x + b for each example. Yours differs.")


def weight_traits(sums, keep_prob, n_inputs):
    read = read_off(sums, n_inputs, keep_prob)
    several = read is None and len(np.unique(sums[..., 0].round(6))) > 2**n_inputs
    refuse(several, "no-coins", "The factors before a weight take more than two values. A mask "
           "holds two only, 0 and 1/keep_prob: multiply each weight by a coin of its own.")
    refuse(read is None, "not-a-sum",
           f"With weights 1, 2, 4 ..., inputs of 1 and keep_prob={keep_prob:g} an output must be a "
           f"sum of some weights, times 1/keep_prob; yours has {sums.flat[0]:.4g} among them. "
           "Multiply each weight by a zero or a one of its own, and divide by keep_prob, not by "
           "the share that was kept.")
    kept, unit = read
    totals, differ = (kept.sum(axis=3), kept.sum(axis=(2, 3))), (kept != kept[:, :1]).any()
    refuse(differ and any(np.ptp(each) == 0 for each in totals), "fixed-number", "The same number "
           "of weights is kept every time. Weights are dropped independently of each other, so "
           "the number varies from example to example, and from output to output.")
    axes = ("call", "example", "output", "input")
    yield from coins(kept, keep_prob, axes, "weights", sentences=WEIGHT_MASKS)
    yield from scaled(unit, keep_prob, "The weights that are")


def bias_traits(factors, keep_prob):
    """Look at by what the bias is multiplied."""
    refuse(not factors.any(), "no-bias", "With inputs of 0 the output is 0: where is the bias?")
    refuse(factors.max() <= 0, "bias-sign",
           "The bias is subtracted, as the slides write it. In this exercise it is added.")
    kept = np.abs(factors) > 1e-6
    values = factors[kept]
    value = values[0] if np.ptp(values) < 1e-4 * abs(values[0]) else None
    mistakes = coins(kept, keep_prob, ("call", "example", "output"), "bias terms")
    for each in itertools.chain(mistakes, scaled(value, keep_prob, "The terms that are")):
        yield Finding(f"bias-{each.name}", f"Look at the bias. {each.sentence}")
# fmt: on


@exercise(
    returns=Array("The output", lambda x, W: (len(x), len(W)),
                  "One row per example, one column per output."),
    traits=dropconnect_traits, at_once=True,
    done="a mask for each weight, bias and example; the mean kept.",
)  # fmt: skip
def dropconnect(x, W, b, keep_prob, rng):
    """Masked sums, with a coin for each weight and bias of each example."""
    M = rng.random((len(x), *W.shape)) < keep_prob  # examples, outputs, inputs
    m = rng.random((len(x), *b.shape)) < keep_prob
    return (np.einsum("noi,oi,ni->no", M, W, x) + m * b) / keep_prob


# DropConnect at prediction

W_, B_ = np.array([[0.5, -2, 1, 1.5], [3, 1, -1, 0.25], [1, 1, 2, -0.5], [-1, 0.4, 0.3, 2],
                   [0.2, -0.6, 1.7, 0.9]]), np.array([2.0, -3, 1, 0.7, -1.2])  # fmt: skip
ROWS = np.array([[1.0, -0.5, 2, 3], [-1.5, 0.8, 0.6, 0.4], [0.3, 2, -1, -0.7]])


# fmt: off
def inference_traits(run, data):
    size = data.uniform(0.8, 1.25)
    W, b, rng = W_ * size, B_ * size, np.random.default_rng(data)

    def draw(copies, keep_prob, activation=np.positive, n_samples=1, rng=rng):
        """Copies of the same examples: (copies, examples, outputs)."""
        given = {"W": W, "b": b, "keep_prob": keep_prob, "activation": activation}
        out = run(x=np.tile(ROWS, (copies, 1)), **given, n_samples=n_samples, rng=rng)
        return out.reshape(copies, len(ROWS), len(W))

    noise_traits(draw)
    for keep_prob in (0.65, 0.3):
        yield from moment_traits(draw(1000, keep_prob), W, b, keep_prob)
    average_traits(draw, *moments(ROWS, W, b, 0.6), 0.6)
    yield from fresh(lambda rng: draw(1, 0.5, np.tanh, 4, rng))
    for n, n_outputs in ((5, 5), (1, 1)):
        x, some_W, some_b = data.normal(size=(n, 4)), W[:n_outputs], b[:n_outputs]
        given = {"x": x, "W": some_W, "b": some_b, "activation": np.tanh, "n_samples": 3}
        whole = run(**given, keep_prob=1.0, rng=rng)
        refuse(not close(whole, np.tanh(x @ some_W.T + some_b), 1e-5), "keep-prob-1", "With "
               "keep_prob=1 nothing is dropped: the variance is 0, and the result is the "
               "activation of W x + b.")


def noise_traits(draw):
    """Whether there is noise, of continuous values, and whether examples or outputs share it."""
    u, again = draw(1000, 0.65), draw(1000, 0.65)
    same, constant = np.array_equal(u, again), np.ptp(u, axis=0).max() < 1e-9
    of_mean = np.allclose(draw(1, 0.65, np.square), u[:1] ** 2, rtol=1e-4)
    refuse(same and constant and of_mean, "activation-of-mean", "There is no noise in it: this is "
           "the activation of the mean. The mean of the activation is another number: sample the "
           "pre-activation, apply the activation to each sample, and average last.")
    plain, squared = (draw(2, 0.65, activation, 2, np.random.default_rng(3))
                      for activation in (np.positive, np.square))
    refuse(np.array_equal(plain, squared) or u.min() >= 0, "ignores-activation", "Another "
           "activation than the given one acts on the samples, or none does. Apply the function "
           "`activation`, and nothing else, to each sample, then average.")
    refuse(same, "shared-by-calls", "Two calls gave the same: is nothing drawn, or is a generator "
           "seeded inside your function? Draw from the Gaussian with the rng that is given.")
    for shared, who in ((constant, "example"),
                        (np.abs(np.corrcoef(u[:, 0].T)).min() > 0.99, "output")):
        refuse(shared, f"shared-by-{who}s", f"All {who}s got the same noise. Their masks are "
               "independent, so draw a number for each example, each output and each sample.")
    refuse(len(np.unique(u[:, 0, 0].round(6))) < 100, "real-masks", "Only a few different values "
           "turn up: real masks were drawn, or something is rounded. The point is to do without: "
           "draw the pre-activation from a Gaussian with rng.normal.")
    ratio = u.var(axis=0).mean() / draw(200, 0.65, np.positive, 25).var(axis=0).mean()
    refuse(1 / 3 < ratio < 3, "one-draw", "With n_samples=25 the result scatters as with "
           "n_samples=1. Draw n_samples, each with noise of its own, and average over all of them.")


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

    for fits, what, right, yours in ((centred, "mean", mean, u.mean(axis=0)),
                                     (spread_so, "variance", variance, spread)):
        if not fits({}):
            refuse_known(gaussian_inference, fits)
            at = np.unravel_index(np.abs(yours - right).argmax(), right.shape)
            refuse(True, "moments-off", f"With keep_prob={keep_prob:g}, n_samples=1 and an "
                   f"activation that does nothing, the results for one example and output must "
                   f"have the {what} {right[at]:.2f}; yours have {yours[at]:.2f}.")
    z = (u - mean) / np.sqrt(variance)
    tails = abs(stats.kurtosis(z, axis=None)) > 7.5 * math.sqrt(24 / z.size)
    refuse(tails or stats.kstest(z.ravel(), "norm").pvalue < 1e-11, "not-gaussian", "Mean and "
           "variance are right, but the samples are not Gaussian. Draw them with rng.normal.")
    yield from independent(z.reshape(-1, len(W)), ("example", "output"), "samples")


def average_traits(draw, mean, variance, keep_prob):
    """Whether n_samples are averaged, and after the activation."""
    many = draw(400, keep_prob, np.positive, 25)
    reach = SIGMAS * many.std(axis=0) / math.sqrt(len(many)) + 1e-6
    by, shrunk = (many.mean(axis=0) / mean).mean(), (variance / many.var(axis=0)).mean()
    refuse((np.abs(many.mean(axis=0) - mean) > reach).any(), "not-averaged", "With n_samples=25 "
           f"the result is about {by:.3g} times what it is with n_samples=1. Divide the sum over "
           "the samples by n_samples, once.")
    refuse(abs(shrunk / 25 - 1) > SIGMAS * math.sqrt(2 / many.size), "not-independent-samples",
           "An average of n_samples=25 independent samples has a variance 25 times smaller than "
           f"one; yours is {shrunk:.4g} times smaller.")
    squares, right = draw(800, keep_prob, np.square, 4), mean**2 + variance
    reach = SIGMAS * squares.std(axis=0) / math.sqrt(len(squares)) + 1e-9
    off, first = ((np.abs(squares.mean(axis=0) - values) > reach).any()
                  for values in (right, mean**2 + variance / 4))
    refuse(off and not first and (squares >= 0).all(), "averaged-first", "The samples were "
           "averaged before the activation. It is the ACTIVATIONS that are averaged: apply it to "
           "each sample first.")
    refuse(off, "activations-off", "With activation=np.square the result must be near mean^2 + "
           f"variance of the pre-activation, {right[0, 0]:.2f}; yours is "
           f"{squares[:, 0, 0].mean():.2f}. Apply the activation to each sample, once, and average "
           "over the samples.")
# fmt: on


def moments(
    x, W, b, keep_prob, *, mean=lambda x, W, b, p: x @ W.T + b, factor=lambda p: (1 - p) / p,
    squares=lambda x, W, b: x**2 @ (W**2).T + b**2, power=1,
):  # fmt: skip
    """Mean and variance of a pre-activation, for masks scaled by 1/keep_prob."""
    return mean(x, W, b, keep_prob), (factor(keep_prob) * squares(x, W, b)) ** power


@exercise(
    returns=Array("The result", lambda x, W: (len(x), len(W)), "One row per example, one column "
                  "per output: the average over the samples.",
                  infinite="Is the root of a negative variance taken? Square weights and inputs "
                  "entry by entry: no term of the variance is negative."),
    traits=inference_traits, at_once=True, done="mean and variance right, activations averaged.",
)  # fmt: skip
def gaussian_inference(x, W, b, keep_prob, activation, n_samples, rng, **settings):
    """Mean activation over Gaussian samples of the pre-activation."""
    mean, variance = moments(x, W, b, keep_prob, **settings)
    u = rng.normal(mean, np.sqrt(variance), (n_samples, len(x), len(W)))
    return activation(u).mean(axis=0)


SCALED = " In this exercise masks are scaled by 1/keep_prob, so the mean is W x + b."
# fmt: off
wrong = gaussian_inference.wrong
wrong("mean-times-keep", "The mean of the pre-activation is keep_prob times too small, as for "
      "masks without a scale." + SCALED, {"mean": lambda x, W, b, p: p * (x @ W.T + b)},
      {"mean": lambda x, W, b, p: p * x @ W.T + b})
wrong("mean-divided", "The mean of the pre-activation is divided by keep_prob. The scaled mask "
      "has mean 1 already." + SCALED, {"mean": lambda x, W, b, p: (x @ W.T + b) / p})
wrong("mean-without-bias", "The mean of the pre-activation is without the bias, or subtracts it."
      + SCALED, {"mean": lambda x, W, b, p: x @ W.T}, {"mean": lambda x, W, b, p: x @ W.T - b})
wrong("variance-without-bias", "The bias is forgotten in the variance. It has a mask too, so it "
      "adds its square.", {"squares": lambda x, W, b: x**2 @ (W**2).T})
wrong("not-squared", "Weights, inputs or the bias are not squared in the variance. It is a "
      "variance: each is squared, entry by entry, before they are multiplied and summed.",
      {"squares": lambda x, W, b: x**2 @ np.abs(W).T + b**2},
      {"squares": lambda x, W, b: np.abs(x) @ (W**2).T + b**2},
      {"squares": lambda x, W, b: np.abs(x) @ np.abs(W).T + np.abs(b)})
wrong("squared-as-a-whole", "The sum over the inputs is squared as a whole. The masks are "
      "independent, so the variances of the terms add up: square each term, then sum.",
      {"squares": lambda x, W, b: (x @ W.T) ** 2 + b**2},
      {"squares": lambda x, W, b: (x @ W.T + b) ** 2})
for name, (_, formula, of, why) in zip(
    ("factor-without-scale", "slides-slip", "factor-upside-down", "root-of-a-part",
     "factor-divided-twice", "mean-square-for-variance", "no-factor"), VARIANCES, strict=True):
    wrong(name, f"The factor of the variance is {formula}, {why}", {"factor": of})
wrong("variance-for-deviation", "The variance is passed as the standard deviation. rng.normal "
      "takes the standard deviation: the ROOT of the variance.", {"power": 2})
# fmt: on
