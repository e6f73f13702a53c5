"""Checks of the exercises on ensembles."""

import numpy as np
from scipy.special import expit as sigmoid
from scipy.special import logit

from lib.checks.engine import Array, Number, exercise, summary_of, varied
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
    returns=(Array("The squared bias", lambda truth: truth.shape, ONE_EACH, "bias_squared"),
             Array("The variance", lambda truth: truth.shape, ONE_EACH, "variance")),
    cases=prediction_cases,
    otherwise="Over the sets: the bias is the mean prediction less the truth, the variance the "
    "mean square of what is off the mean prediction.",
    done="at each point over the sets; they add up to the error.",
)  # fmt: skip
def bias_variance(predictions, truth, *, bias=lambda p, t: (p.mean(0) - t) ** 2,
                  variance=lambda p, t: p.var(0)):  # fmt: skip
    """Squared bias and variance at each point, over training sets."""
    return bias(predictions, truth), variance(predictions, truth)


# fmt: off
wrong = bias_variance.wrong
wrong("swapped", "The two are swapped: return bias_squared, variance.",
      lambda p, t: bias_variance.right(p, t)[::-1])
wrong("error-for-bias", "This is the mean squared error, which holds the variance as well. Average "
      "the predictions over the sets first, then subtract, then square.",
      {"bias": lambda p, t: ((p - t) ** 2).mean(0)})
wrong("bias-not-squared", "The bias itself is returned. Return its square.",
      *varied("bias", lambda p, t: p.mean(0) - t, lambda p, t: t - p.mean(0)))
wrong("unbiased", "This takes off what the scatter of the mean prediction adds, as the estimate of "
      "lib does. Here the given sets stand for all sets, and nothing is taken off.",
      *varied("bias", lambda p, t: (p.mean(0) - t) ** 2 - p.var(0, ddof=1) / len(p),
              lambda p, t: np.maximum((p.mean(0) - t) ** 2 - p.var(0) / len(p), 0)))
wrong("summed", "{what} is summed over the sets: take the mean.",
      *varied("bias", lambda p, t: (p.sum(0) - t) ** 2, lambda p, t: (p - t).sum(0) ** 2),
      {"variance": lambda p, t: len(p) * p.var(0)})
wrong("median", "This takes the median prediction. The bias is that of the mean prediction.",
      {"bias": lambda p, t: (np.median(p, 0) - t) ** 2})
wrong("one-mean-of-all", "{what} takes one mean of all points. Each point has its own: "
      "mean(axis=0).", *varied("bias", lambda p, t: np.full_like(t, (p.mean() - t.mean()) ** 2),
                               lambda p, t: (p.mean() - t) ** 2),
      *varied("variance", lambda p, t: np.full_like(t, p.var()),
              lambda p, t: ((p - p.mean()) ** 2).mean(0)))
wrong("about-truth", "These squares are taken about the true value, so the bias is in them too: it "
      "is the mean squared error. The variance is taken about the mean prediction.",
      {"variance": lambda p, t: ((p - t) ** 2).mean(0)})
wrong("ddof", "The variance divides by the number of sets less one. Here the given sets stand for "
      "all sets: divide by their number.", {"variance": lambda p, t: p.var(0, ddof=1)})
wrong("standard-deviation", "This is the standard deviation. The variance is its square.",
      *varied("variance", lambda p, t: p.std(0), lambda p, t: p.std(0, ddof=1)))
wrong("not-about-the-mean", "This is the mean square. Subtract the square of the mean, or take "
      "squares about the mean.", {"variance": lambda p, t: (p**2).mean(0)})
wrong("distances", "These are mean distances from the mean. The variance takes squares.",
      {"variance": lambda p, t: np.abs(p - p.mean(0)).mean(0)})
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
def average_variance(v, c, k, *, shared=lambda c, k, v: (k - 1) / k * c):
    """Variance of the mean of k equally correlated predictors."""
    return v / k + shared(c, k, v)


# fmt: off
wrong = average_variance.wrong
wrong("no-covariance", "The covariance does not appear. Variance over k holds for predictors that "
      "are uncorrelated; of the k^2 terms in the square of their sum, k (k - 1) are covariances.",
      {"shared": lambda c, k, v: 0})
wrong("pairs-with-themselves", "The covariance is counted for all k^2 pairs, those of a predictor "
      "with itself among them. These have the variance v; only k (k - 1) pairs have c.",
      {"shared": lambda c, k, v: c})
wrong("counted-once", "Each pair is counted once. In the square of the sum the product of two "
      "different predictors stands twice, f_i f_j and f_j f_i: there are k (k - 1) of them.",
      {"shared": lambda c, k, v: (k - 1) / k * c / 2})
wrong("k-1-others", "v / k is right, but not the covariances: there are k (k - 1) of them, and "
      "their sum is divided by k squared.",
      *varied("shared", lambda c, k, v: c / k, lambda c, k, v: (k - 1) * c if k > 1 else 0,
              lambda c, k, v: (k - 1) / k**2 * c, lambda c, k, v: 2 * (k - 1) / k * c,
              lambda c, k, v: c / k if k > 1 else 0))
wrong("sum", "This is the variance of the sum. The mean divides the sum by k, so its variance is "
      "that of the sum over k squared.", lambda v, c, k: k**2 * average_variance.right(v, c, k))
wrong("v-not-divided", "The covariances are right, but not the variances: there are k of them, and "
      "their sum is divided by k squared.",
      *(lambda v, c, k, power=power: v / k**power + (k - 1) / k * c for power in (0, 2, 0.5)))
wrong("swapped", "v and c are swapped: a predictor is paired with itself only k times.",
      lambda v, c, k: average_variance.right(c, v, k))
wrong("correlation", "c is taken for a correlation. It is the covariance itself: do not multiply "
      "it by the variance.", {"shared": lambda c, k, v: (k - 1) / k * c * v})
wrong("subtracted", "The covariances are subtracted. Predictors that err together: add.",
      *varied("shared", lambda c, k, v: -(k - 1) / k * c, lambda c, k, v: -c))
wrong("clipped", "A covariance counts with its sign: predictors that err in opposite ways make the "
      "variance of the mean smaller.",
      *varied("shared", lambda c, k, v: (k - 1) / k * abs(c),
              lambda c, k, v: (k - 1) / k * max(c, 0)))
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
    returns=Array("The array of outputs", lambda b, x: (2 ** len(b), len(x)), "n hidden units have "
                  "2^n masks, one a row; each example is a column. Masks go on the hidden units, "
                  "not the inputs."),
    cases=network_cases,
    otherwise="Row k must be sigmoid(v . (m * max(0, Wx - b))) with m = all_masks(n)[k].",
    chance="Two calls give different outputs: are masks drawn at random? There are few enough to "
    "list them all.",
    done="every sub-network, in the order of all_masks.",
)  # fmt: skip
def all_outputs(x, W, b, v, *, order=all_masks, say=lambda m, h, v: sigmoid(m * v @ h.T),
                z=lambda x, W, b: x @ W.T - b, g=lambda z: np.maximum(z, 0)):  # fmt: skip
    """Outputs of all sub-networks, one a row, one example a column."""
    return say(order(len(b)), g(z(x, W, b)), v)


# fmt: off
wrong = all_outputs.wrong
wrong("upside-down", "The rows are in the opposite order: row 0 must be the sub-network that keeps "
      "no hidden unit, the last row the one that keeps all. Is a 1 in your masks a unit that is "
      "dropped?", {"order": lambda n: 1 - all_masks(n)})
wrong("other-end", "The rows are in another order than those of all_masks: there the first unit is "
      "the LEADING binary digit of the row's number, so row 1 keeps the last unit alone.",
      {"order": lambda n: all_masks(n)[:, ::-1]})
wrong("other-order", "The rows are in another order than those of all_masks: row k is the number k "
      "in binary.", *varied("order", lambda n: np.array(sorted(all_masks(n).tolist(), key=sum)),
                            lambda n: all_masks(n)[np.lexsort((-np.arange(2**n),
                                                               all_masks(n).sum(1)))]))
wrong("no-mask", "All rows are the same: where is the mask? Each row belongs to another "
      "sub-network.", {"order": lambda n: np.ones((2**n, n))})
wrong("scaled-masks", "What reaches the sigmoid has a factor: are the masks scaled? In this "
      "exercise they hold zeros and ones.", {"order": lambda n: 2 * all_masks(n)},
      {"order": lambda n: all_masks(n) * n / np.maximum(all_masks(n).sum(1, keepdims=True), 1)})
wrong("on-inputs", "The masks are on the inputs. The sub-networks of this exercise lack hidden "
      "units: multiply the activations max(0, Wx - b) by the mask.",
      lambda x, W, b, v: np.array([sigmoid(np.maximum((m * x) @ W.T - b, 0) @ v)
                                   for m in all_masks(x.shape[1])]))
wrong("bias-speaks", "A dropped unit still says max(0, -b): the mask multiplies W x, before the "
      "bias is subtracted. It belongs to the activation, m * max(0, Wx - b).",
      lambda x, W, b, v: sigmoid(np.maximum(all_masks(len(b))[:, None] * (x @ W.T) - b, 0) @ v))
wrong("no-relu", "The ReLU is missing: a hidden unit says max(0, Wx - b).", {"g": lambda z: z})
wrong("other-activation", "The hidden units have another activation. They have a ReLU: max(0, Wx - "
      "b).", {"g": sigmoid}, {"g": np.tanh})
wrong("bias-added", "The bias is added: in this exercise it is subtracted, Wx - b.",
      {"z": lambda x, W, b: x @ W.T + b})
wrong("no-output-sigmoid", "The sigmoid of the output unit is missing.",
      {"say": lambda m, h, v: m * v @ h.T})
wrong("one-sigmoid-each", "The sigmoid is taken of each hidden unit's share. Sum over the units "
      "first: the output unit has one sigmoid, of v . h.",
      *varied("say", lambda m, h, v: m @ sigmoid(h * v).T,
              lambda m, h, v: m @ sigmoid(h * v).T / len(v),
              lambda m, h, v: sigmoid(m[:, None] * h * v).sum(-1)))
# fmt: on


# Their mean


def output_cases(data):
    cases = [{"outputs": data.beta(0.6, 0.9, size=(2**n, n_examples)), "keep_prob": keep_prob}
             for n, n_examples, keep_prob in ((4, 6, 0.8), (3, 5, 0.3), (5, 4, 0.5), (1, 3, 0.6),
                                              (2, 7, 1.0), (2, 4, 0.9))]  # fmt: skip
    return [*cases, cases[0] | {"keep_prob": 0.3}]


@exercise(
    returns=Array("The mean", lambda outputs: outputs.shape[1:], "It holds a number for each "
                  "example, that is each column: average over the rows."),
    cases=output_cases,
    otherwise="Sum probability times output over the rows.",
    done="each sub-network with the probability of its mask.",
)  # fmt: skip
def ensemble_prediction(outputs, keep_prob, *, chance=mask_probabilities,
                        combine=lambda c, y: c @ y):  # fmt: skip
    """Mean over all sub-networks, each with its mask's probability."""
    masks = all_masks(len(outputs).bit_length() - 1)
    return combine(chance(masks, keep_prob), outputs)


for each in MEANS:
    ensemble_prediction.wrong(*each)
# fmt: off
wrong = ensemble_prediction.wrong
wrong("weight-scaling", "This is the output of the whole network with keep_prob as a factor: the "
      "idea of weight scaling, which stands in for the mean where masks are too many to list.",
      lambda o, k: k * o[-1], lambda o, k: sigmoid(k * logit(o[-1])))
wrong("vote", "These are votes: outputs rounded to 0 or 1. Average the outputs themselves.",
      *varied("combine", lambda c, y: c @ (y > 0.5), lambda c, y: c @ y > 0.5))
wrong("before-the-sigmoid", "The average is taken before the sigmoid, of the logits: that is a "
      "geometric mean of a kind. Average the outputs themselves.",
      {"combine": lambda c, y: sigmoid(c @ logit(y))})
# fmt: on
