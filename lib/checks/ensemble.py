"""Checks of the exercises on ensembles."""

import numpy as np
from scipy.special import expit as sigmoid
from scipy.special import logit

from lib.checks.engine import Array, Number, exercise, summary_of
from lib.checks.normalization import MEANS
from lib.masks import all_masks, mask_probabilities

summary = summary_of("ensemble")


# Bias and variance


def prediction_cases(data):
    cases = []
    for n_sets, n_points in ((7, 4), (6, 6), (3, 9), (2, 1), (1, 3)):
        truth, scatter = data.normal(2, 1, n_points), data.uniform(0.5, 2, n_points)
        offset = data.uniform(0.5, 2, n_points) * (-1) ** np.arange(n_points)
        predictions = truth + offset + scatter * data.normal(size=(n_sets, n_points))
        cases.append({"predictions": predictions, "truth": truth})
    other = data.normal(size=(7, 4))
    return [*cases, cases[0] | {"truth": other[0]}, cases[0] | {"predictions": other}]


ONE_EACH = "There is one number for each point: average over the sets, axis=0, not over the points."


@exercise(
    returns=(
        Array("The squared bias", lambda truth: truth.shape, ONE_EACH, "bias_squared"),
        Array("The variance", lambda truth: truth.shape, ONE_EACH, "variance"),
    ),
    cases=prediction_cases,
    otherwise="Over the sets: the bias is the mean prediction less the truth, the variance the "
    "mean square of what is off the mean prediction.",
    done="at each point over the sets; they add up to the error.",
)
def bias_variance(predictions, truth, *, bias=lambda p, t: (p.mean(0) - t) ** 2,
                  variance=lambda p, t: p.var(0)):  # fmt: skip
    """Squared bias and variance at each point, over training sets."""
    return bias(predictions, truth), variance(predictions, truth)


def error(p, t):
    return ((p - t) ** 2).mean(0)


# fmt: off
bias_variance.wrong("swapped", "The two are swapped: return bias_squared, variance.",
    lambda p, t: bias_variance.right(p, t)[::-1])
bias_variance.wrong("error-for-bias", "This is the mean squared error, which holds the variance "
    "as well. The bias is the error of the MEAN prediction: average the predictions over the "
    "sets first, then subtract, then square.", {"bias": error},
    {"bias": lambda p, t: np.abs(p - t).mean(0)}, {"bias": lambda p, t: error(p, t) ** 0.5},
    {"bias": lambda p, t: np.abs(p - t).mean(0) ** 2})
bias_variance.wrong("bias-not-squared", "The bias itself is returned, or its size. Return its "
    "square.", {"bias": lambda p, t: p.mean(0) - t}, {"bias": lambda p, t: t - p.mean(0)},
    {"bias": lambda p, t: np.abs(p.mean(0) - t)})
bias_variance.wrong("difference-of-squares", "This is a difference of squares. The bias is a "
    "difference, the mean prediction less the true value: subtract first, then square.",
    {"bias": lambda p, t: p.mean(0) ** 2 - t**2},
    {"bias": lambda p, t: np.abs(p.mean(0) ** 2 - t**2)},
    {"bias": lambda p, t: (p**2).mean(0) - t**2})
bias_variance.wrong("unbiased", "This takes off what the scatter of the mean prediction adds, as "
    "the estimate of lib does. That is right in its way; here the given sets stand for all sets, "
    "and nothing is taken off.",
    {"bias": lambda p, t: (p.mean(0) - t) ** 2 - p.var(0, ddof=1) / len(p)},
    {"bias": lambda p, t: (p.mean(0) - t) ** 2 - p.var(0) / len(p)})
bias_variance.wrong("summed", "{what} is summed over the sets: take the mean.",
    {"bias": lambda p, t: len(p) * (p.mean(0) - t) ** 2},
    {"bias": lambda p, t: (p - t).sum(0) ** 2}, {"bias": lambda p, t: (p.sum(0) - t) ** 2},
    {"bias": lambda p, t: ((p - t) ** 2).sum(0)}, {"variance": lambda p, t: len(p) * p.var(0)})
bias_variance.wrong("no-truth", "The truth is missing: the bias is the mean prediction less the "
    "true value.", {"bias": lambda p, t: p.mean(0) ** 2},
    {"bias": lambda p, t: (p.mean(0) - p.mean()) ** 2})
bias_variance.wrong("median", "This takes the median prediction. Bias and variance are about the "
    "mean prediction.", {"bias": lambda p, t: (np.median(p, 0) - t) ** 2},
    {"bias": lambda p, t: np.median((p - t) ** 2, 0)},
    {"variance": lambda p, t: ((p - np.median(p, 0)) ** 2).mean(0)})
bias_variance.wrong("across-points", "The averages are taken over the points, along a row. Bias "
    "and variance say what happens at one point when the training SET changes: average over the "
    "sets, axis=0.", lambda p, t: ((p.mean(1) - t) ** 2, p.var(1)),
    {"bias": lambda p, t: (p.mean(1) - t) ** 2}, {"bias": lambda p, t: (p - t).mean(1) ** 2},
    {"bias": lambda p, t: ((p - t) ** 2).mean(1)},
    *({"variance": lambda p, t, ddof=ddof: p.var(1, ddof=ddof)} for ddof in (0, 1)))
bias_variance.wrong("same-for-all-points", "{what} is the same at every point: average over the "
    "sets alone, axis=0, not over the points.",
    *({"bias": lambda p, t, f=f: np.full_like(t, f(p, t))} for f in (lambda p,
        t: ((p.mean(0) - t) ** 2).mean(), lambda p, t: (p.mean() - t.mean()) ** 2)),
    *({"variance": lambda p, t, f=f: np.full_like(t, f(p))} for f in (np.var,
        lambda p: p.var(0).mean())))
bias_variance.wrong("one-mean-of-all", "{what} takes one mean of all points. Each point has its "
    "own: mean(axis=0).", {"bias": lambda p, t: (p.mean() - t) ** 2},
    {"bias": lambda p, t: (p.mean(0) - t.mean()) ** 2},
    {"variance": lambda p, t: ((p - p.mean()) ** 2).mean(0)})
bias_variance.wrong("one-set", "A single set is looked at. The bias is that of the mean "
    "prediction, over all sets.", *({"bias": lambda p, t, i=i: (p[i] - t) ** 2} for i in (0, -1)),
    {"bias": lambda p, t: ((p - t) ** 2).max(0)})
bias_variance.wrong("divided-by-points", "{what} is divided by the number of points. At each "
    "point average over the sets.", {"bias": lambda p, t: (p.sum(0) / len(t) - t) ** 2},
    {"bias": lambda p, t: (p.mean(0) - t) ** 2 / len(t)},
    {"variance": lambda p, t: p.var(0) * len(p) / len(t)})
bias_variance.wrong("about-truth", "These squares are taken about the true value, so the bias is "
    "in them too: it is the mean squared error. The variance is taken about the mean prediction.",
    {"variance": error}, {"variance": lambda p, t: ((p - t) ** 2).sum(0) / max(len(p) - 1, 1)})
bias_variance.wrong("ddof", "The variance divides by the number of sets less one. Here the given "
    "sets stand for all sets: divide by their number, and bias squared plus variance is the mean "
    "squared error exactly.", {"variance": lambda p, t: p.var(0, ddof=1)})
bias_variance.wrong("standard-deviation", "This is the standard deviation. The variance is its "
    "square.", *({"variance": lambda p, t, ddof=ddof: p.std(0, ddof=ddof)} for ddof in (0, 1)))
bias_variance.wrong("of-the-mean", "The variance is divided by the number of sets twice: this is "
    "that of their mean.",
    *({"variance": lambda p, t, d=ddof: p.var(0, ddof=d) / len(p)} for ddof in (0, 1)))
bias_variance.wrong("not-about-the-mean", "This is the mean square. Subtract the square of the "
    "mean, or take squares about the mean.", {"variance": lambda p, t: (p**2).mean(0)},
    {"variance": lambda p, t: (p**2).mean(0) - p.mean(0)})
bias_variance.wrong("distances", "These are mean distances from the mean, or a range. The "
    "variance takes squares.", {"variance": lambda p, t: np.abs(p - p.mean(0)).mean(0)},
    {"variance": lambda p, t: np.ptp(p, 0)})
# fmt: on


# The mean of predictors that agree


def variance_cases(data):
    triples = [(2.3, 0.6, 5), (2.3, 0.6, 4), (2.3, -0.2, 5), (1.4, 0.6, 5), (0.7, 0.7, 3),
               (3.0, 0.0, 10), (1.9, 0.4, 1), (1.0, 0.3, 2), (1.7, -1.7, 2)]  # fmt: skip
    for v, k in zip(data.uniform(0.5, 3, 3), data.integers(3, 15, 3), strict=True):
        triples.append((float(v), float(v * data.uniform(-0.05, 0.9)), int(k)))
    return [dict(zip(("v", "c", "k"), triple, strict=True)) for triple in triples]


@exercise(
    returns=Number("The variance"),
    cases=variance_cases,
    otherwise="Write down the k x k covariance matrix: v on the diagonal, c off it. The variance "
    "of the mean is the sum of its entries, over k squared.",
    done="v / k, and what the covariances leave.",
)
def average_variance(v, c, k, *, own=lambda v, k: v / k, shared=lambda c, k, v: (k - 1) / k * c,
                     of=lambda variance, k: variance):  # fmt: skip
    """Variance of the mean of k equally correlated predictors."""
    return of(own(v, k) + shared(c, k, v), k)


OVER_SQUARE = (
    "The mean divides the sum by k, so its variance is that of the sum over k squared: k variances "
    "and k (k - 1) covariances."
)
# fmt: off
average_variance.wrong("no-covariance", "The covariance does not appear. Variance over k holds "
    "for predictors that are uncorrelated; of the k^2 terms in the square of their sum, k (k - "
    "1) are covariances, and they stay.", {"shared": lambda c, k, v: 0})
average_variance.wrong("pairs-with-themselves", "The covariance is counted for all k^2 pairs, "
    "those of a predictor with itself among them. These have the variance v; only k (k - 1) "
    "ordered pairs have the covariance c.", {"shared": lambda c, k, v: c})
average_variance.wrong("k-1-others", "A factor k - 1 is needed: each of the k predictors has a "
    "covariance with k - 1 others.", {"shared": lambda c, k, v: c / k},
    {"shared": lambda c, k, v: (k + 1) / k * c}, {"shared": lambda c, k, v: (k - 2) / k * c},
    {"shared": lambda c, k, v: (1 - 1 / k**2) * c})
average_variance.wrong("one-pair", "One pair alone is counted: there are k (k - 1), over k "
    "squared.", {"shared": lambda c, k, v: c / k**2}, {"shared": lambda c, k, v: 2 * c / k**2})
average_variance.wrong("counted-once", "Each pair is counted once. In the square of the sum the "
    "product of two different predictors stands twice, f_i f_j and f_j f_i: there are k (k - 1) "
    "of them.", {"shared": lambda c, k, v: (k - 1) / k * c / 2})
average_variance.wrong("counted-four-times", "k (k - 1) counts each pair both ways already: no "
    "factor 2.", {"shared": lambda c, k, v: 2 * (k - 1) / k * c})
average_variance.wrong("covariances-not-divided",
    f"The covariances are not divided as they should be. {OVER_SQUARE}",
    {"shared": lambda c, k, v: (k - 1) * c}, {"shared": lambda c, k, v: k * (k - 1) * c},
    {"shared": lambda c, k, v: k * (k - 1) / 2 * c})
average_variance.wrong("divided-too-often",
    f"The covariances are divided by k once too often. {OVER_SQUARE}",
    {"shared": lambda c, k, v: (k - 1) / k**2 * c})
average_variance.wrong("sum", f"This is the variance of the sum, or that over k. {OVER_SQUARE}",
    {"of": lambda variance, k: k**2 * variance}, {"of": lambda variance, k: k * variance})
average_variance.wrong("k-times-too-small", f"This is k times too small. {OVER_SQUARE}",
    {"of": lambda variance, k: variance / k})
average_variance.wrong("v-over-k-squared", "v is divided by k squared, but there are k "
    "variances: v / k.", {"own": lambda v, k: v / k**2})
average_variance.wrong("n-1", "Nothing is estimated here: the variances are known, and the mean "
    "divides by k, not by k - 1.",
    *({"own": lambda v, k, least=least: v / max(k - 1, least)} for least in (0, 1)),
    *({"of": lambda v, k, least=least: v * k / max(k - 1, least)} for least in (0, 1)))
average_variance.wrong("root-of-k", "v is divided by the root of k. It is the standard deviation "
    "that falls with the root.", {"own": lambda v, k: v / k**0.5})
average_variance.wrong("v-not-divided", "The variances are not divided by k: the mean of k of "
    "them is v / k.", {"own": lambda v, k: v})
average_variance.wrong("swapped", "v and c are swapped: a predictor is paired with itself only k "
    "times.", lambda v, c, k: average_variance.right(c, v, k))
average_variance.wrong("correlation", "c is taken for a correlation, or squared. It is the "
    "covariance itself: do not multiply it by the variance, nor by a root or square.",
    {"shared": lambda c, k, v: (k - 1) / k * c * v},
    {"shared": lambda c, k, v: (k - 1) / k * c * v**0.5},
    {"shared": lambda c, k, v: (k - 1) / k * c**2})
average_variance.wrong("subtracted", "The covariances are subtracted. Predictors that err "
    "together: add.", {"shared": lambda c, k, v: -(k - 1) / k * c},
    {"shared": lambda c, k, v: -c / k}, {"shared": lambda c, k, v: -c})
average_variance.wrong("clipped", "A covariance counts with its sign: predictors that err in "
    "opposite ways make the variance of the mean smaller.",
    {"shared": lambda c, k, v: (k - 1) / k * abs(c)},
    {"shared": lambda c, k, v: (k - 1) / k * max(c, 0)})
average_variance.wrong("limit", "This is the limit for many predictors; k of them leave v / k "
    "and less of c.", lambda v, c, k: c)
average_variance.wrong("single", "This is the variance of a single predictor: averaging has no "
    "effect in it.", lambda v, c, k: v)
average_variance.wrong("standard-deviation", "This is the standard deviation: no root.",
    {"of": lambda variance, k: max(variance, 0) ** 0.5})
# fmt: on


# Every sub-network


def network_cases(data):
    def network(n_examples, n_inputs, n_hidden):
        return {"x": data.normal(size=(n_examples, n_inputs)),
                "W": data.normal(size=(n_hidden, n_inputs)),
                "b": data.uniform(-1, 0.3, n_hidden), "v": data.normal(size=n_hidden)}  # fmt: skip

    one, other = network(5, 2, 3), network(5, 2, 3)
    return [one, network(5, 4, 4), network(1, 3, 5), network(4, 2, 1), network(6, 5, 2),
            *(one | {name: other[name]} for name in one)]  # fmt: skip


@exercise(
    returns=Array(
        "The array of outputs",
        lambda b, x: (2 ** len(b), len(x)),
        "n hidden units have 2^n masks, one a row; each example is a column. Masks go on the "
        "hidden units, not the inputs.",
    ),
    cases=network_cases,
    otherwise="Row k must be sigmoid(v . (m * max(0, Wx - b))) with m = all_masks(n)[k].",
    chance="Two calls give different outputs: are masks drawn at random? There are few enough to "
    "list them all.",
    done="every sub-network, in the order of all_masks.",
)
def all_outputs(x, W, b, v, *, order=all_masks, z=lambda x, W, b: x @ W.T - b,
                g=lambda z: np.maximum(z, 0), say=lambda m, h, v: m * v @ h.T,
                out=sigmoid):  # fmt: skip
    """Outputs of all sub-networks, one a row, one example a column."""
    return out(say(order(len(b)), g(z(x, W, b)), v))


def by_count(n):
    return np.array(sorted(all_masks(n).tolist(), key=sum))


def inside(x, W, b, v):
    return sigmoid(np.maximum(all_masks(len(b))[:, None] * (x @ W.T) - b, 0) @ v)


# fmt: off
all_outputs.wrong("upside-down", "The rows are in the opposite order: row 0 must be the "
    "sub-network that keeps no hidden unit, and the last row the one that keeps all. Is a 1 in "
    "your masks a unit that is dropped?", {"order": lambda n: 1 - all_masks(n)})
all_outputs.wrong("other-end", "The rows are in another order than those of all_masks: there the "
    "first unit is the LEADING binary digit of the row's number, so row 1 keeps the last unit "
    "alone.", {"order": lambda n: all_masks(n)[:, ::-1]},
    {"order": lambda n: 1 - all_masks(n)[:, ::-1]})
all_outputs.wrong("other-order", "The rows are in another order than those of all_masks: row k "
    "is the number k in binary.", {"order": by_count}, {"order": lambda n: by_count(n)[::-1]},
    {"order": lambda n: all_masks(n)[np.arange(2**n) ^ np.arange(2**n) >> 1]})
all_outputs.wrong("no-mask", "All rows are the same: where is the mask? Each row belongs to "
    "another sub-network.", {"order": lambda n: np.ones((2**n, n))},
    {"order": lambda n: np.full((2**n, n), 0.5)})
all_outputs.wrong("scaled-masks", "What reaches the sigmoid has a factor: are the masks scaled? "
    "In this exercise they hold zeros and ones.",
    *({"order": lambda n, f=f: f * all_masks(n)} for f in (2, 0.5, 1.25, 0.8, 5, 0.2)),
    {"order": lambda n: all_masks(n) * n / np.maximum(all_masks(n).sum(1, keepdims=True), 1)},
    {"order": lambda n: all_masks(n) / np.maximum(all_masks(n).sum(1, keepdims=True), 1)},
    {"order": lambda n: all_masks(n) / n})
all_outputs.wrong("plus-minus", "A dropped unit has the sign turned. It says nothing: its entry "
    "in the mask is 0.", {"order": lambda n: 2 * all_masks(n) - 1})
all_outputs.wrong("on-inputs", "The masks are on the inputs. The sub-networks of this exercise "
    "lack hidden units: multiply the activations max(0, Wx - b) by the mask.",
    lambda x, W, b, v: np.array([sigmoid(np.maximum((m * x) @ W.T - b, 0) @ v)
        for m in all_masks(x.shape[1])]))
all_outputs.wrong("bias-speaks", "A dropped unit still says max(0, -b): the mask multiplies W x, "
    "before the bias is subtracted. It belongs to the activation, m * max(0, Wx - b).", inside)
all_outputs.wrong("no-relu", "The ReLU is missing: a hidden unit says max(0, Wx - b).",
    {"g": lambda z: z})
all_outputs.wrong("relu-too-late", "The ReLU is taken of the sum. Each hidden unit has its own: "
    "max(0, Wx - b), then v . (m h).",
    {"g": lambda z: z, "out": lambda z: sigmoid(np.maximum(z, 0))},
    {"out": lambda z: sigmoid(np.maximum(z, 0))})
all_outputs.wrong("other-activation", "The hidden units have another activation. They have a "
    "ReLU: max(0, Wx - b).", {"g": sigmoid}, {"g": np.tanh}, {"g": np.abs},
    {"g": lambda z: np.minimum(z, 0)}, {"g": lambda z: np.log1p(np.exp(z))},
    *({"g": lambda z, a=a: np.maximum(z, a * z)} for a in (0.01, 0.1, 0.2)))
all_outputs.wrong("bias-added", "The bias is added: in this exercise it is subtracted, Wx - b.",
    {"z": lambda x, W, b: x @ W.T + b})
all_outputs.wrong("no-bias", "The bias is missing: a hidden unit says max(0, Wx - b).",
    {"z": lambda x, W, b: x @ W.T})
all_outputs.wrong("bias-after-relu", "The bias is subtracted after the ReLU. It comes before: "
    "max(0, Wx - b).",
    lambda x, W, b, v: sigmoid(all_masks(len(b)) * v @ (np.maximum(x @ W.T, 0) - b).T))
all_outputs.wrong("output-bias", "The bias is subtracted from the sum as well, or only there. It "
    "belongs to the hidden units; the output unit has none.",
    *(lambda x, W, b, v, a=a: all_outputs.right(x, W, a * b, v,
        out=lambda z: sigmoid(z - b.sum())) for a in (0, 1)))
all_outputs.wrong("wrong-way-round", "W is the wrong way round: row i of W holds the weights "
    "INTO hidden unit i, x @ W.T.", {"z": lambda x, W, b: x @ W - b})
all_outputs.wrong("no-output-sigmoid", "The sigmoid of the output unit is missing.",
    {"out": lambda z: z})
all_outputs.wrong("other-output", "The output unit has another activation, or its sign turned: "
    "it has a sigmoid.", {"out": lambda z: sigmoid(-z)}, {"out": np.tanh},
    {"out": lambda z: np.exp(z) / np.exp(z).sum(0)},
    {"out": lambda z: np.exp(z) / np.exp(z).sum(1, keepdims=True)}, {"out": lambda z: z > 0},
    {"out": lambda z: np.clip(z, 0, 1)}, {"out": lambda z: sigmoid(sigmoid(z))})
all_outputs.wrong("one-sigmoid-each", "The sigmoid is taken of each hidden unit's share. Sum "
    "over the units first: the output unit has one sigmoid, of v . h.",
    {"say": lambda m, h, v: m @ sigmoid(h * v).T, "out": lambda z: z},
    {"say": lambda m, h, v: sigmoid(m[:, None] * h * v).sum(-1), "out": lambda z: z})
all_outputs.wrong("no-v", "The output weights v are missing: what reaches the sigmoid is v . (m "
    "* h).", {"say": lambda m, h, v: m @ h.T})
all_outputs.wrong("mask-on-output", "The mask multiplies the output. It belongs to the hidden "
    "units, one entry each.",
    {"say": lambda m, h, v: m[:, :1] * sigmoid(h @ v), "out": lambda z: z},
    {"say": lambda m, h, v: m.mean(1, keepdims=True) * sigmoid(h @ v), "out": lambda z: z})
all_outputs.wrong("transposed", "Rows and columns are swapped: one sub-network a row, one "
    "example a column.", lambda x, W, b, v: all_outputs.right(x, W, b, v).T,
    lambda x, W, b, v: sigmoid(np.maximum(x @ W.T - b, 0) @ (all_masks(len(b)) * v).T))
# fmt: on


# Their mean


def output_cases(data):
    cases = [{"outputs": data.beta(0.6, 0.9, size=(2**n, n_examples)), "keep_prob": keep_prob}
             for n, n_examples, keep_prob in ((4, 6, 0.8), (3, 5, 0.3), (5, 4, 0.5), (1, 3, 0.6),
                                              (2, 7, 1.0), (2, 4, 0.9))]  # fmt: skip
    return [*cases, cases[0] | {"keep_prob": 0.3}]


@exercise(
    returns=Array(
        "The mean",
        lambda outputs: outputs.shape[1:],
        "It holds a number for each example, that is each column: average over the rows.",
    ),
    cases=output_cases,
    otherwise="Sum probability times output over the rows.",
    done="each sub-network with the probability of its mask.",
)
def ensemble_prediction(outputs, keep_prob, *, chance=mask_probabilities, combine=lambda c, y: c @ y):
    """Mean over all sub-networks, each with its mask's probability."""
    masks = all_masks(len(outputs).bit_length() - 1)
    return combine(chance(masks, keep_prob), outputs)


for each in MEANS:
    ensemble_prediction.wrong(*each)
# fmt: off
ensemble_prediction.wrong("weight-scaling", "This is the output of the whole network with "
    "keep_prob as a factor: the idea of weight scaling, which stands in for the mean where "
    "listing all masks is out of question. Here you have them all.", lambda o, k: k * o[-1],
    lambda o, k: sigmoid(k * logit(o[-1])))
ensemble_prediction.wrong("one-sub-network", "This is the output of one sub-network, the whole "
    "or the most likely one. Average over all.", lambda o, k: o[-1],
    {"combine": lambda c, y: y[c.argmax()]})
ensemble_prediction.wrong("one-coin", "Two sub-networks are mixed, the whole and the empty one, "
    "as if one draw decided for all units. Each unit has its own: there are 2^n masks.",
    lambda o, k: k * o[-1] + (1 - k) * o[0])
ensemble_prediction.wrong("vote", "These are votes: outputs rounded to 0 or 1. Average the "
    "outputs themselves.", {"combine": lambda c, y: c @ (y > 0.5)},
    {"combine": lambda c, y: c @ y > 0.5})
ensemble_prediction.wrong("before-the-sigmoid", "The average is taken before the sigmoid, of the "
    "logits: that is a geometric mean of a kind, and what weight scaling computes. Average the "
    "outputs themselves.", {"combine": lambda c, y: sigmoid(c @ logit(y))})
ensemble_prediction.wrong("keep-prob-as-factor", "keep_prob is a factor of the outputs. Its "
    "place is in the probabilities of the masks.", lambda o, k: k * o.mean(0),
    lambda o, k: k * o.sum(0),
    {"combine": lambda c, y: c @ y * c[-1] ** (1 / max(len(c).bit_length() - 1, 1))})
ensemble_prediction.wrong("median", "This is the median. Take the mean.",
    {"combine": lambda c, y: np.median(y, 0)})
ensemble_prediction.wrong("other-end", "The probabilities are in another order than the rows: "
    "the rows are in the order of all_masks.",
    {"chance": lambda m, p: mask_probabilities(np.array(sorted(m.tolist(), key=sum)), p)})
# fmt: on
