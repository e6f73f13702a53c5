"""Checks of the exercises on ensembles."""

import itertools
import math
import numbers

import numpy as np
from scipy.special import comb, logit
from scipy.special import expit as sigmoid

from lib.checks.common import (
    as_array,
    as_number,
    as_pair,
    call,
    check_value,
    expect,
    factor,
    farthest,
)
from lib.masks import all_masks, mask_probabilities

ERROR_FOR_BIAS = (
    "This is the mean squared error, which holds the variance as well. The bias is the error of "
    "the MEAN prediction: average the predictions over the sets first, then subtract, then square."
)
DIFFERENCE_OF_SQUARES = (
    "This is a difference of squares. The bias is a difference, the mean prediction less the true "
    "value: subtract first, then square."
)
ACROSS_POINTS = (
    "The averages are taken over the points, along a row. Bias and variance say what happens at "
    "one point when the training SET changes: average over the sets, axis=0."
)
UNBIASED = (
    "This is the estimate of lib, which takes off what the scatter of the mean prediction adds. "
    "It is right in its way; here the given sets stand for all sets, and nothing is taken off."
)
DDOF = (
    "The variance divides by the number of sets less one. Here the given sets stand for all sets: "
    "divide by their number, and bias squared plus variance is the mean squared error exactly."
)
ABOUT_TRUTH = (
    "These squares are taken about the true value, so the bias is in them too: it is the mean "
    "squared error. The variance is taken about the mean prediction."
)


def bias_variance(student):
    """Check bias squared and variance of the predictions after training on several sets.

    Parameters
    ----------
    student : callable
        ``bias_variance(predictions, truth)`` for predictions of shape (sets, points), returning
        the square of the bias and the variance, one of each a point.

    Raises
    ------
    AssertionError
        Naming what is wrong: averages over the points, the error taken for the bias, squares
        in the wrong order, a variance about the truth, the two swapped.
    """
    __tracebackhide__ = True
    for n_sets, n_points in ((6, 6), (7, 4), (3, 9)):
        data = np.random.default_rng(n_sets)
        truth = data.normal(2, 1, size=n_points)
        offset, scatter = data.uniform(0.5, 2, size=(2, n_points))
        offset[::2] *= -1
        predictions = truth + offset + scatter * data.normal(size=(n_sets, n_points))
        result = call(student, predictions=predictions, truth=truth)
        pair = as_pair(result, "bias_squared, variance")
        bias_squared, variance = (
            _one_a_point(value, name, n_points)
            for value, name in zip(pair, ("The squared bias", "The variance"), strict=True)
        )
        bias, spread = predictions.mean(axis=0) - truth, predictions.var(axis=0)
        expect(
            not (np.allclose(bias_squared, spread) and np.allclose(variance, bias**2)),
            "The two are swapped: return bias_squared, variance.",
        )
        (i,) = farthest(bias_squared, bias**2)
        check_value(
            bias_squared,
            bias**2,
            _biases(predictions, truth),
            f"With {n_sets} sets the mean prediction at point {i} is "
            f"{predictions[:, i].mean():.4f} and the truth {truth[i]:.4f}, so the squared bias is "
            f"{bias[i] ** 2:.4f}; yours is {bias_squared[i]:.4f}.",
        )
        (i,) = farthest(variance, spread)
        check_value(
            variance,
            spread,
            _variances(predictions, truth),
            f"With {n_sets} sets the predictions at point {i} scatter about their mean with "
            f"the variance {spread[i]:.4f}; yours is {variance[i]:.4f}.",
        )
    print("bias_variance: at each point over the sets; they add up to the error.")


def _one_a_point(value, name, n_points):
    __tracebackhide__ = True
    expect(
        not isinstance(value, numbers.Real),
        f"{name} is a single number. There is one for each point: average over the sets alone, "
        "axis=0.",
    )
    why = "There is one number for each point: average over the sets, axis=0, not over the points."
    return as_array(value, (n_points,), name, why)


def _biases(predictions, truth):
    """What may stand for the squared bias, and what each mistake means."""
    mean = predictions.mean(axis=0)
    bias, n_sets = mean - truth, len(predictions)
    yield np.square(predictions - truth).mean(axis=0), ERROR_FOR_BIAS
    yield bias, "The bias is not squared: return its square."
    yield np.abs(bias), "This is the size of the bias: return its square."
    yield np.abs(predictions - truth).mean(axis=0), ERROR_FOR_BIAS
    yield mean**2 - truth**2, DIFFERENCE_OF_SQUARES
    yield np.square(predictions).mean(axis=0) - truth**2, DIFFERENCE_OF_SQUARES
    yield bias**2 - predictions.var(axis=0, ddof=1) / n_sets, UNBIASED
    yield n_sets * bias**2, "The bias is summed over the sets: take the mean prediction."
    yield np.square((predictions - truth).sum(axis=0)), "Take the mean over the sets, not the sum."
    yield mean**2, "The truth is missing: the bias is the mean prediction less the true value."
    yield (
        np.square(np.median(predictions, axis=0) - truth),
        "This takes the median prediction. The bias is that of the mean prediction.",
    )
    yield (
        np.full_like(truth, np.square(bias).mean()),
        "Every point has the same bias: don't average over the points.",
    )
    yield (
        np.full_like(truth, np.square(predictions.mean() - truth.mean())),
        "Every point has the same bias: don't average over the points.",
    )
    if predictions.shape == (len(truth), len(truth)):  # only then can it go unnoticed
        yield np.square(predictions.mean(axis=1) - truth), ACROSS_POINTS
        yield np.square((predictions - truth).mean(axis=1)), ACROSS_POINTS
        yield np.square(predictions - truth).mean(axis=1), ACROSS_POINTS


def _variances(predictions, truth):
    """What may stand for the variance, and what each mistake means."""
    variance = predictions.var(axis=0)
    error = np.square(predictions - truth).mean(axis=0)
    yield error, ABOUT_TRUTH
    yield predictions.var(axis=0, ddof=1), DDOF
    yield np.sqrt(variance), "This is the standard deviation. The variance is its square."
    yield predictions.std(axis=0, ddof=1), "This is the standard deviation, and of n - 1 sets."
    yield len(predictions) * variance, "The squares are summed over the sets: take their mean."
    yield variance / len(predictions), "The variance is divided by the number of sets twice."
    yield (
        np.square(predictions).mean(axis=0),
        "This is the mean square. Subtract the square of the mean, or take squares about the mean.",
    )
    yield (
        np.abs(predictions - predictions.mean(axis=0)).mean(axis=0),
        "These are mean distances from the mean. The variance takes their squares.",
    )
    yield (
        np.square(predictions - predictions.mean()).mean(axis=0),
        "The squares are taken about one mean of all points. Each point has its own: mean(axis=0).",
    )
    yield (
        np.full_like(truth, predictions.var()),
        "Every point has the same variance: average over the sets alone, axis=0.",
    )
    yield (
        np.full_like(truth, variance.mean()),
        "Every point has the same variance: don't average over the points.",
    )
    if predictions.shape == (len(truth), len(truth)):
        for ddof in (0, 1):
            yield predictions.var(axis=1, ddof=ddof), ACROSS_POINTS


INDEPENDENT = (
    "The covariance does not appear. Variance over k holds for predictors that are uncorrelated; "
    "of the k^2 terms in the square of their sum, k (k - 1) are covariances, and they stay."
)
DIAGONAL = (
    "The covariance is counted for all k^2 pairs, those of a predictor with itself among them. "
    "These have the variance v; only k (k - 1) ordered pairs have the covariance c."
)
ONCE = (
    "Each pair is counted once. In the square of the sum the product of two different predictors "
    "stands twice, f_i f_j and f_j f_i: there are k (k - 1) of them."
)
AS_CORRELATION = (
    "c is taken for a correlation. It is the covariance itself: do not multiply it by the variance."
)


def average_variance(student):
    """Check the variance of the mean of equally correlated predictors.

    Parameters
    ----------
    student : callable
        ``average_variance(v, c, k)``, returning v / k + (k - 1) c / k.

    Raises
    ------
    AssertionError
        Naming what is wrong: the covariance left out, counted on the diagonal, once, or without
        the factor k - 1; the variance of the sum.
    """
    __tracebackhide__ = True
    for v, c, k in ((2.3, 0.6, 5), (1.4, -0.2, 4), (0.7, 0.7, 3), (3.0, 0.0, 10), (1.9, 0.4, 1)):
        value = as_number(call(student, v=v, c=c, k=k), "The variance")
        covariances = np.where(np.eye(k, dtype=bool), v, c)
        right = covariances.sum() / k**2
        given = f"v={v}, c={c} and k={k}"
        if k == 1:
            otherwise = (
                f"For k=1 the mean is the predictor itself, of variance {v}; yours is {value}."
            )
        else:
            otherwise = (
                f"For {given} the mean has the variance {right:.6g}, yours is {value:.6g}. Write "
                f"down the {k} x {k} covariance matrix: the sum of its entries, over k squared."
            )
        check_value(value, right, _averages(v, c, k) if k > 1 else (), otherwise)
    print("average_variance: v / k, and what the covariances leave.")


def _averages(v, c, k):
    """What may stand for the variance of the mean, and what each mistake means."""
    pairs = (k - 1) / k
    right = v / k + pairs * c
    squared = "The mean divides the sum by k, so its variance is that of the sum over k squared."
    yield v / k, INDEPENDENT
    yield v / k + c, DIAGONAL
    yield (
        v / k + c / k,
        "The factor k - 1 is missing: each of the k predictors has a covariance with k - 1 others.",
    )
    yield v / k + c / k**2, "One pair alone is counted: there are k (k - 1), over k squared."
    yield v / k + pairs * c / 2, ONCE
    yield v / k + 2 * pairs * c, "k (k - 1) counts each pair both ways already: no factor 2."
    yield v / k + (k - 1) * c, f"The covariances are not divided as they should be. {squared}"
    yield v / k + k * (k - 1) * c, f"The covariances are not divided at all. {squared}"
    yield v / k + pairs * c / k, f"The covariances are divided by k once too often. {squared}"
    yield k * v + k * (k - 1) * c, f"This is the variance of the sum. {squared}"
    yield v + (k - 1) * c, f"This is k times too large. {squared}"
    yield right / k, "This is k times too small: the k variances and k (k - 1) covariances add up."
    yield v / k**2 + pairs * c, "v is divided by k squared, but there are k variances: v / k."
    yield c / k + pairs * v, "v and c are swapped: a predictor is paired with itself only k times."
    yield v / k + pairs * c * v, AS_CORRELATION
    yield c * v + (1 - c) * v / k, AS_CORRELATION
    yield v / k - pairs * c, "The covariances are subtracted. Predictors that err together: add."
    yield c, "This is the limit for many predictors; k of them leave v / k and less of c."
    yield v, "This is the variance of a single predictor: averaging has no effect in it."
    yield v + pairs * c, "The variances are not divided by k: the mean of k of them is v / k."
    yield (v + c) / 2, "k has no part in it."
    if right >= 0:
        yield math.sqrt(right), "This is the standard deviation: no root."


UPSIDE_DOWN = (
    "The rows are in the opposite order: row 0 must be the sub-network that keeps no hidden unit, "
    "and the last row the one that keeps all. Is a 1 in your masks a unit that is dropped?"
)
OTHER_END = (
    "The rows are in another order than those of all_masks: there the first unit is the LEADING "
    "binary digit of the row's number, so row 1 keeps the last unit alone."
)
INPUT_MASKS = (
    "The masks are on the inputs. The sub-networks of this exercise lack hidden units: multiply "
    "the activations max(0, Wx - b) by the mask."
)
BIAS_SPEAKS = (
    "A dropped unit still says max(0, -b): the mask multiplies W x, before the bias is subtracted. "
    "It belongs to the activation, m * max(0, Wx - b)."
)


def all_outputs(student):
    """Check the outputs of all sub-networks of a small network.

    Parameters
    ----------
    student : callable
        ``all_outputs(x, W, b, v)``, returning sigmoid(v . (m * max(0, W x - b))) for every mask m
        of the hidden units, one mask a row, one example a column.

    Raises
    ------
    AssertionError
        Naming what is wrong: the order, masks on the inputs, scaled masks, a layer that lacks
        something, an average taken too early.
    """
    __tracebackhide__ = True
    for n_examples, n_inputs, n_hidden in ((5, 4, 4), (6, 2, 3), (3, 3, 5)):
        data = np.random.default_rng(n_examples)
        x, W = data.normal(size=(n_examples, n_inputs)), data.normal(size=(n_hidden, n_inputs))
        b, v = -data.uniform(0.2, 1, size=n_hidden), data.normal(size=n_hidden)
        given = {"x": x, "W": W, "b": b, "v": v}
        outputs = as_array(
            call(student, **given),
            (2**n_hidden, n_examples),
            "The array of outputs",
            f"{n_hidden} hidden units have 2^{n_hidden} masks, one a row; each of the "
            f"{n_examples} examples is a column. Masks go on the hidden units, not the inputs.",
        )
        h, masks = np.maximum(x @ W.T - b, 0), all_masks(n_hidden)
        right = _with_masks(masks, h, v)
        if not np.allclose(outputs, right):
            _name_outputs(outputs, right, call(student, **given), given)
    print("all_outputs: every sub-network, in the order of all_masks.")


def _with_masks(masks, h, v):
    """Sigmoid outputs for masks (k, units) and activations (examples, units)."""
    return sigmoid((masks[:, None] * h) @ v)


def _name_outputs(outputs, right, again, given):
    __tracebackhide__ = True
    expect(
        np.array_equal(outputs, again),
        "Two calls give different outputs: are masks drawn at random? There are few enough to "
        "list them all.",
    )
    expect(
        not np.allclose(outputs, outputs[0]),
        "All rows are the same: where is the mask? Each row belongs to another sub-network.",
    )
    if (outputs > 0).all() and (outputs < 1).all():
        kept = np.abs(logit(right)) > 1e-9
        scale = factor(logit(outputs)[kept], logit(right)[kept])
        if scale is not None and scale > 0:
            raise AssertionError(
                f"What reaches the sigmoid is {scale:.4g} times what it should be: are the masks "
                "scaled? In this exercise they hold zeros and ones."
            )
    k, i = farthest(outputs, right)
    check_value(
        outputs,
        right,
        _wrong_outputs(**given),
        "Some outputs differ from sigmoid(v . (m * max(0, Wx - b))). With the mask "
        f"{all_masks(len(given['b']))[k].tolist()} it is {right[k, i]:.6f} for example {i}; yours "
        f"is {outputs[k, i]:.6f}.",
    )


def _wrong_outputs(x, W, b, v):
    """What may stand for the outputs, and what each mistake means."""
    n_hidden, n_inputs = W.shape
    masks, z = all_masks(n_hidden), x @ W.T - b
    h, m = np.maximum(z, 0), all_masks(n_hidden)[:, None]
    plus = x @ W.T + b
    layers = (
        (h, None),
        (z, "The ReLU is missing: a hidden unit says max(0, Wx - b)."),
        (sigmoid(z), "The hidden units have a sigmoid. They have a ReLU: max(0, Wx - b)."),
        (np.maximum(plus, 0), "The bias is added: in this exercise it is subtracted, Wx - b."),
        (plus, "The bias is added, Wx - b, and the ReLU is missing."),
    )
    for (layer, of_layer), (order, of_order) in itertools.product(
        layers, ((masks, None), (masks[::-1], UPSIDE_DOWN), (masks[:, ::-1], OTHER_END))
    ):
        yield _with_masks(order, layer, v), of_layer or of_order
        yield (
            (order[:, None] * layer) @ v,
            of_layer or "The sigmoid of the output unit is missing.",
        )
    yield sigmoid(np.maximum(m * (x @ W.T) - b, 0) @ v), BIAS_SPEAKS
    yield (
        (m * sigmoid(h * v)).sum(axis=-1),
        "The sigmoid is taken of each hidden unit's share. Sum over the units first: the output "
        "unit has one sigmoid, of v . h.",
    )
    yield (
        sigmoid((m * h).sum(axis=-1)),
        "The output weights v are missing: what reaches the sigmoid is v . (m * h).",
    )
    yield (
        m[..., 0] * sigmoid(h @ v),
        "The mask multiplies the output. It belongs to the hidden units, one entry each.",
    )
    if n_inputs == n_hidden:  # only then can these go unnoticed
        yield sigmoid(np.maximum((m * x) @ W.T - b, 0) @ v), INPUT_MASKS
        yield (
            _with_masks(masks, np.maximum(x @ W - b, 0), v),
            "W is the wrong way round: row i of W holds the weights INTO hidden unit i, x @ W.T.",
        )


EQUALLY = (
    "All sub-networks count the same. That is right for keep_prob=0.5 only: weight each by the "
    "probability of its mask, keep_prob^kept * (1 - keep_prob)^dropped."
)
WEIGHT_SCALING = (
    "This is the output of the whole network times keep_prob: the idea of weight scaling, which "
    "stands in for the mean where listing all masks is out of question. Here you have them all."
)
GEOMETRIC = (
    "The average is taken before the sigmoid, of the logits: that is a geometric mean of a kind, "
    "and what weight scaling computes. Average the outputs themselves."
)
NO_DROPPED = (
    "The weights are keep_prob^kept alone, and those do not add up to 1. A unit that is dropped "
    "has a probability too: times (1 - keep_prob)^dropped."
)
NO_KEPT = (
    "The weights are (1 - keep_prob)^dropped alone. A unit that is kept has a probability too: "
    "times keep_prob^kept."
)


def ensemble_prediction(student):
    """Check the mean of the outputs of all sub-networks.

    Parameters
    ----------
    student : callable
        ``ensemble_prediction(outputs, keep_prob)`` for outputs of shape (2**n, examples) in the
        order of ``all_masks(n)``, returning their mean, one number an example.

    Raises
    ------
    AssertionError
        Naming what is wrong: masks weighted equally, keep and drop mixed up, weights that do not
        add up to one, the network with the mean mask in place of the mean.
    """
    __tracebackhide__ = True
    for n, keep_prob in ((4, 0.8), (3, 0.3), (5, 0.5), (1, 0.6), (2, 1.0)):
        outputs = np.random.default_rng(n).beta(0.6, 0.9, size=(2**n, 6))
        result = call(student, outputs=outputs, keep_prob=keep_prob)
        expect(
            not isinstance(result, numbers.Real),
            "The mean is a single number. There is one for each example: average over the rows.",
        )
        mean = as_array(
            result, (6,), "The mean", "It holds a number for each example, that is each column."
        )
        right = mask_probabilities(all_masks(n), keep_prob) @ outputs
        (i,) = farthest(mean, right)
        check_value(
            mean,
            right,
            _means(outputs, n, keep_prob),
            f"For {n} units and keep_prob={keep_prob} the mean of column {i} over all {2**n} masks "
            f"is {right[i]:.6f}, yours is {mean[i]:.6f}. Sum probability times output over the "
            "rows.",
        )
    print("ensemble_prediction: each sub-network with the probability of its mask.")


def _means(outputs, n, keep_prob):
    """What may stand for the mean, and what each mistake means."""
    kept = all_masks(n).sum(axis=1)
    keeping, dropping = keep_prob**kept, (1 - keep_prob) ** (n - kept)
    chance = keeping * dropping
    yield outputs.mean(axis=0), EQUALLY
    yield (
        chance[::-1] @ outputs,
        "The probabilities are those of dropping: did you take keep_prob for the probability to "
        "drop? A mask of k ones among n has keep_prob^k * (1 - keep_prob)^(n - k).",
    )
    for weights, message in (
        (keeping, NO_DROPPED),
        (dropping, NO_KEPT),
        (
            comb(n, kept) * chance,
            "The weights hold a binomial coefficient: that is the probability of k units in all. "
            "Each of the masks with k ones has a row of its own, and counts once.",
        ),
        (kept.astype(float), "The weights are the numbers of units kept, not probabilities."),
        (
            np.maximum(kept * keep_prob + (n - kept) * (1 - keep_prob), 1e-300),
            "The probabilities of the units are added. They are independent: multiply them.",
        ),
    ):
        yield weights @ outputs, message
        yield weights @ outputs / weights.sum(), message
        yield weights @ outputs / len(weights), message
    yield (
        chance @ outputs / len(outputs),
        "Weighted by their probabilities the outputs are summed, not averaged once more: the "
        "probabilities already add up to 1.",
    )
    yield outputs.sum(axis=0), "This is a sum: the weights must add up to 1."
    yield (
        outputs[-1],
        "This is the output of one sub-network, the whole network. Average over all of them.",
    )
    yield keep_prob * outputs[-1], WEIGHT_SCALING
    yield sigmoid(keep_prob * logit(outputs[-1])), WEIGHT_SCALING
    yield sigmoid(chance @ logit(outputs)), GEOMETRIC
    yield np.exp(chance @ np.log(outputs)), "This is a geometric mean: add, don't multiply."
    yield keep_prob * outputs.mean(axis=0), "All count the same, and keep_prob is a factor."
    yield np.median(outputs, axis=0), "This is the median. Take the mean."
    yield (
        outputs[chance.argmax()],
        "This is the output of the most likely sub-network. Average over all of them.",
    )
    for gone, which in ((0, "that drops every unit"), (-1, "that keeps every unit")):
        rest = np.delete(np.arange(len(chance)), gone)
        message = f"The mask {which} is missing. There are 2^{n} masks, that one among them."
        yield chance[rest] @ outputs[rest], message
        if chance[rest].sum() > 0:
            yield chance[rest] @ outputs[rest] / chance[rest].sum(), message
