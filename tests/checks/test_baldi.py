"""The checks of the exercises on Baldi's analysis: each known misconception is told what it is.

The first lines under each exercise's name are right answers written in other ways: they must pass.
"""

import itertools
import math
from fractions import Fraction

import numpy as np
import pytest
from answers import assert_told, cases
from scipy import stats
from scipy.special import logit

from lib.checks import baldi
from lib.masks import all_masks, mask_probabilities
from lib.theory import nwgm as theory


def sigmoid(z):
    return 1 / (1 + np.exp(-z))


def mean_of(values, p):
    """A weighted geometric mean."""
    return np.prod(values**p)


def means(first=mean_of, second=mean_of):
    """A geometric_means from what is done with the outputs and with what they lack to 1."""
    return lambda o, p: (first(o, p), second(1 - o, p))


def same(mean):
    return means(mean, mean)


def loop_means(outputs, probabilities):
    g = g_prime = 1.0
    for output, probability in zip(outputs.tolist(), probabilities.tolist(), strict=True):
        g *= output**probability
        g_prime *= (1 - output) ** probability
    return g, g_prime


def shares(outputs, probabilities):
    g, g_prime = means()(outputs, probabilities)
    return g / (g + g_prime), g_prime / (g + g_prime)


def equal(values, p):
    return np.prod(values) ** (1 / len(values))


def harmonic(values, p):
    return 1 / (p @ (1 / values))


GEOMETRIC_MEANS = [
    (means(), None),
    (loop_means, None),
    (same(lambda v, p: np.exp((p * np.log(v)).sum())), None),
    (same(lambda v, p: 10 ** (p @ np.log10(v))), None),
    (same(lambda v, p: stats.gmean(v, weights=p)), None),
    (lambda o, p: np.prod(np.stack([o, 1 - o]) ** p, axis=1), None),
    (lambda o, p: means()(o, p)[::-1], "The two are swapped"),
    (shares, "divided by their sum already"),
    (lambda o, p: (mean_of(o, p), 1 - mean_of(o, p)), "G' is taken for 1 - G"),
    (lambda o, p: (mean_of(o, p), 1 / mean_of(o, p)), "G' is not 1 / G"),
    (lambda o, p: (mean_of(o, p), mean_of(o, 1 - p)), "not the exponents"),
    (means(second=lambda v, p: mean_of(v, 1 - p)), "are those of G"),
    (same(lambda v, p: p @ v), "the arithmetic mean"),
    (means(second=lambda v, p: p @ v), "the arithmetic mean"),
    (same(lambda v, p: v.mean()), "And all outputs count the same"),
    (same(equal), "All outputs count the same"),
    (means(second=equal), "All outputs count the same"),
    (same(lambda v, p: np.prod(v)), "without exponents"),
    (same(lambda v, p: np.prod(p * v)), "probabilities multiply the outputs"),
    (same(lambda v, p: np.prod(p * v) ** (1 / len(v))), "probabilities multiply the outputs"),
    (same(lambda v, p: np.prod(p**v)), "swapped: it is O_k"),
    (same(lambda v, p: p @ np.log(v)), "exponential is missing"),
    (same(lambda v, p: mean_of(v, p) ** (1 / len(v))), "A root is taken on top"),
    (same(lambda v, p: mean_of(v, p) ** 0.5), "A root is taken on top"),
    (same(lambda v, p: (v**p).sum()), "are added"),
    (same(lambda v, p: (v**p).mean()), "are averaged"),
    (same(harmonic), "harmonic"),
    (same(lambda v, p: np.median(v)), "median"),
    (same(lambda v, p: 0.4), "is 0.*yours is 0.4"),
    (means(second=lambda v, p: 0.4), "G', the product of"),
    (mean_of, "return g, g_prime"),
    (same(lambda v, p: v**p), "G must be one number"),
]


def from_means(combine):
    """An nwgm from the two geometric means."""
    return lambda o, p: combine(mean_of(o, p), mean_of(1 - o, p))


def loop_nwgm(outputs, probabilities):
    log_odds = 0.0
    for output, probability in zip(outputs, probabilities, strict=True):
        log_odds += probability * (math.log(output) - math.log1p(-output))
    return 1 / (1 + math.exp(-log_odds))


def root_last(outputs, probabilities):
    """Multiplied first: the right thing, for a few outputs of ordinary size."""
    m = len(outputs)
    g, g_prime = (np.prod(v ** (m * probabilities)) for v in (outputs, 1 - outputs))
    g, g_prime = g ** (1 / m), g_prime ** (1 / m)
    return g / (g + g_prime)


def clipped(eps):
    return lambda o, p: sigmoid(p @ logit(np.clip(o, eps, 1 - eps)))


def plus(eps):
    def nwgm(outputs, probabilities):
        g, g_prime = (np.exp(probabilities @ np.log(v + eps)) for v in (outputs, 1 - outputs))
        return g / (g + g_prime)

    return nwgm


def through(mean):
    """An nwgm from another mean."""
    return lambda o, p: mean(o, p) / (mean(o, p) + mean(1 - o, p))


NWGM = [
    (from_means(lambda g, h: g / (g + h)), None),
    (from_means(lambda g, h: 1 / (1 + h / g)), None),
    (loop_nwgm, None),
    (lambda o, p: sigmoid(p @ logit(o)), None),
    (lambda o, p: np.array([sigmoid(p @ (np.log(o) - np.log1p(-o)))]), None),
    (theory.nwgm, None),
    (lambda o, p: p @ o, "arithmetic mean"),
    (lambda o, p: o.mean(), "arithmetic mean"),
    (through(lambda v, p: p @ v), "arithmetic mean"),
    (through(equal), "All outputs count the same"),
    (lambda o, p: sigmoid(logit(o).mean()), "All outputs count the same"),
    (from_means(lambda g, h: g), "normalization is forgotten"),
    (equal, "normalization is forgotten"),
    (from_means(lambda g, h: h / (g + h)), "G belongs on top"),
    (from_means(lambda g, h: g / h), "Divide by G"),
    (from_means(lambda g, h: g / (1 + g)), "G' is not 1"),
    (from_means(lambda g, h: g / (g + 1 - g)), "normalization is forgotten"),
    (lambda o, p: mean_of(o, p) / (mean_of(o, p) + p @ o), "plus the arithmetic mean"),
    (lambda o, p: p @ logit(o), "mean of the logits"),
    (lambda o, p: sigmoid(p @ o), "sigmoid of the mean OUTPUT"),
    (lambda o, p: sigmoid(p @ np.log(o)), "G' is not 1"),
    (through(lambda v, p: np.prod(v)), "without exponents"),
    (through(lambda v, p: np.prod(p * v)), "without exponents"),
    (root_last, "NaN, for 4096 masks"),
    (clipped(1e-3), "seem to be clipped"),
    (clipped(1e-7), "seem to be clipped"),
    (clipped(1e-12), "seem to be clipped"),
    (plus(1e-10), "seem to be clipped"),
    (lambda o, p: np.clip(p @ logit(np.clip(o, 1e-9, 1)), 0, 1), "For a few outputs"),
    (lambda o, p: sigmoid(p[o > 0.1] @ logit(o[o > 0.1])), "For .* yours is"),
    (lambda o, p: sigmoid(p @ logit(o)) if len(o) < 99 else 0.5, "For 4096 masks"),
    (lambda o, p: o**p / (o**p + (1 - o) ** p), "must be one number"),
    (lambda o, p: sigmoid(sum(math.log(p) * o for p, o in zip(p, o, strict=True))), "a few|raised"),
]


def unit(outputs, probabilities):
    return lambda: (outputs, probabilities)


def from_masks():
    masks = all_masks(8)
    return sigmoid(0.5 * masks.sum(axis=1) - 1), mask_probabilities(masks, 0.5)


def searched():
    rng = np.random.default_rng(0)
    while True:
        outputs, probabilities = rng.uniform(size=5), rng.dirichlet(np.ones(5))
        mean = probabilities @ outputs
        estimate = 2 * mean * (1 - mean) * abs(1 - 2 * mean)
        if abs(mean - theory.nwgm(outputs, probabilities)) > 1.1 * estimate:
            return outputs, probabilities


COUNTEREXAMPLE = [
    (unit([0.3, 0.9], [2 / 3, 1 / 3]), None),
    (unit(np.array([0.3, 0.9]), np.array([2 / 3, 1 / 3])), None),
    (unit((Fraction(3, 10), Fraction(9, 10)), (Fraction(2, 3), Fraction(1, 3))), None),
    (unit([1e-300, 0.9], [0.01, 0.99]), None),
    (searched, None),
    (lambda: np.array([[0.3, 0.9], [2 / 3, 1 / 3]]), None),
    (unit([0.3, 0.9, 0.5], [2 / 3, 1 / 3, 0.0]), None),
    (unit([0.3, 0.9], [0.5, 0.5]), "The estimate holds here"),
    (unit([0.2, 0.6], [0.5, 0.5]), "is to spare"),
    (from_masks, "The estimate holds here"),
    (unit([0.1, 0.9], [0.5, 0.5]), "evenly about 1/2"),
    (unit([0.1, 0.5, 0.9], [0.3, 0.4, 0.3]), "evenly about 1/2"),
    (unit([0.495, 0.5025], [1 / 3, 2 / 3]), "exceeded by .* only"),
    (unit([0.5, 0.5], [0.5, 0.5]), "that very number"),
    (unit([0.7], [1.0]), "that very number"),
    (unit([0.3, 0.9], [1.0, 0.0]), "that very number"),
    (unit([0.3, 0.9], [2 / 3, 2 / 3]), "add up to 1.33333"),
    (unit([0.3, 0.9], [0.66, 0.33]), "add up to 0.99"),
    (unit([0.3, 0.9], [1.5, -0.5]), "is -0.5. Probabilities are not negative"),
    (unit([0.0, 0.9], [0.5, 0.5]), "An output is 0"),
    (unit([0.3, 1.0], [0.5, 0.5]), "An output is 1"),
    (unit([0.3, 1.9], [0.5, 0.5]), "An output is 1.9"),
    (unit([-0.3, 0.9], [0.5, 0.5]), "An output is -0.3"),
    (unit([-2.0, 1.5], [2 / 3, 1 / 3]), "An output is -2. A sigmoid"),
    (unit([0.3, 0.9], [0.2, 0.3, 0.5]), "There are 2 outputs and 3 probabilities"),
    (unit([0.3, math.nan], [0.5, 0.5]), "NaN or infinite"),
    (unit([0.3, 0.9], [math.nan, 0.5]), "NaN or infinite"),
    (unit(0.3, 0.9), "must be a list of numbers"),
    (unit([[0.3, 0.9]], [2 / 3, 1 / 3]), "must be a list of numbers"),
    (unit("ab", "cd"), "must be a list of numbers"),
    (unit([], []), "must be a list of numbers"),
    (lambda: [0.3, 0.9], "must be a list of numbers"),
    (lambda: [0.3, 0.9, 0.5], "return outputs, probabilities"),
    (lambda: 0.3, "return outputs, probabilities"),
]


def over_masks(combine, weigh=mask_probabilities, scale=lambda k: 1):
    """A dropout_gradient from the weights of all masks, the masks, O - t and the inputs."""

    def dropout_gradient(w, x, t, keep_prob):
        masks = all_masks(len(w)) * scale(keep_prob)
        weights = weigh(all_masks(len(w)), keep_prob)
        return combine(weights, masks, sigmoid(masks * x @ w) - t, x)

    return dropout_gradient


def right(p, m, delta, x):
    return (p * delta) @ m * x


RIGHT = over_masks(right)


def equally(masks, k):
    return np.full(len(masks), 1 / len(masks))


def loss(w, x, t, keep_prob):
    masks = all_masks(len(w))
    sums = masks * x @ w
    losses = t * np.logaddexp(0, -sums) + (1 - t) * np.logaddexp(0, sums)
    return mask_probabilities(masks, keep_prob) @ losses


def by_differences(step):
    def dropout_gradient(w, x, t, keep_prob):
        shifts = step * np.eye(len(w))
        rise = [
            loss(w + shift, x, t, keep_prob) - loss(w - shift, x, t, keep_prob) for shift in shifts
        ]
        return np.array(rise) / (2 * step)

    return dropout_gradient


def loop_gradient(w, x, t, keep_prob):
    total = [0.0] * len(w)
    for mask in itertools.product((0, 1), repeat=len(w)):
        chance = math.prod(keep_prob if kept else 1 - keep_prob for kept in mask)
        s = sum(m * a * b for m, a, b in zip(mask, w, x, strict=True))
        delta = 1 / (1 + math.exp(-s)) - t
        for i, kept in enumerate(mask):
            if kept:
                total[i] += chance * delta * x[i]
    return np.array(total)


def at_mean(w, x, t, keep_prob):
    return (sigmoid(keep_prob * x @ w) - t) * keep_prob * x


def one_random_mask(w, x, t, keep_prob):
    mask = np.random.default_rng().random(len(w)) < keep_prob
    return (sigmoid(mask * x @ w) - t) * mask * x


def samples(n, seed=None):
    def dropout_gradient(w, x, t, keep_prob):
        masks = np.random.default_rng(seed).random((n, len(w))) < keep_prob
        return ((sigmoid(masks * x @ w) - t)[:, None] * masks * x).mean(axis=0)

    return dropout_gradient


def with_decay(w, x, t, keep_prob):
    return at_mean(w, x, t, keep_prob) + theory.weight_decay_term(w, x, keep_prob)


def squared_error(w, x, t, keep_prob):
    def combine(p, m, delta, x):
        outputs = delta + t
        return (p * delta * outputs * (1 - outputs)) @ m * x

    return over_masks(combine)(w, x, t, keep_prob)


def keeping(masks, k):
    return k ** masks.sum(axis=1)


def in_place(w, x, t, keep_prob):
    w *= x
    return RIGHT(w, x, t, keep_prob)


DROPOUT_GRADIENT = [
    (RIGHT, None),
    (loop_gradient, None),
    (by_differences(1e-5), None),
    (theory.dropout_gradient, None),
    (
        over_masks(lambda p, m, d, x: np.float32((p[:, None] * d[:, None] * m).sum(axis=0) * x)),
        None,
    ),
    (at_mean, "gradient of the ensemble, at the mean sum"),
    (lambda w, x, t, k: at_mean(w, x, t, k) / k, "And dS/dw_i would be"),
    (with_decay, "the mean gradient by weight"),
    (over_masks(lambda p, m, d, x: p @ d * x), "forgotten in the derivative"),
    (over_masks(lambda p, m, d, x: d.mean() * x), "forgotten in the derivative"),
    (lambda w, x, t, k: (sigmoid(x @ w) - t) * k * x, "forgotten in the sum"),
    (lambda w, x, t, k: (sigmoid(x @ w) - t) * x, "There is no mask"),
    (over_masks(lambda p, m, d, x: (p @ d) * (p @ m) * x), "averaged apart"),
    (over_masks(right, equally), "All masks count the same"),
    (over_masks(lambda p, m, d, x: (d[:, None] * m * x).mean(axis=0)), "All masks count the same"),
    (over_masks(right, lambda m, k: mask_probabilities(1 - m, k)), "for the probability to drop"),
    (lambda *args: -RIGHT(*args), "sign is turned round"),
    (lambda *args: -at_mean(*args), "gradient of the ensemble"),
    (over_masks(lambda p, m, d, x: -(d @ m) * x / len(m)), "All masks count the same"),
    (squared_error, "as with the squared error"),
    (over_masks(lambda p, m, d, x: (p * d) @ m), "The inputs are missing"),
    (lambda w, x, t, k: RIGHT(w, x, t, k) / x * w, "not m_i w_i"),
    (lambda w, x, t, k: RIGHT(w, x, 0, k), "The target is missing"),
    (lambda w, x, t, k: RIGHT(w, x, 1 - t, k), "target 1 - t|target is missing"),
    (over_masks(right, scale=lambda k: 1 / k), "scaled by 1/keep_prob"),
    (lambda w, x, t, k: RIGHT(w, x, t, k) / k, "scaled by 1/keep_prob"),
    (over_masks(lambda p, m, d, x: right(p, m, d, x) / len(m)), "not averaged once more"),
    (over_masks(lambda p, m, d, x: d @ m * x), "without their probabilities"),
    (over_masks(right, keeping), "do not add up to 1"),
    (one_random_mask, "drawn at random"),
    (samples(1000), "drawn at random"),
    (samples(1, 0), "for a single mask|no mask"),
    (samples(4000, 0), "Near, but not equal: list all masks"),
    (by_differences(0.3), "Near, but not equal"),
    (lambda w, x, t, k: RIGHT(w, x, t, k).sum(), "must be a NumPy array"),
    (lambda w, x, t, k: RIGHT(w, x, t, k).tolist(), "must be a NumPy array"),
    (over_masks(lambda p, m, d, x: (p * d)[:, None] * m * x), "must have shape"),
    (in_place, "changed its argument w in place"),
]


def factors(weight=lambda p: p * (1 - p), inverted=lambda p: (1 - p) / p):
    return lambda keep_prob, scaling: {"weight": weight, "inverted": inverted}[scaling](keep_prob)


def from_a_mask(keep_prob, scaling):
    values = np.array([0, 1 if scaling == "weight" else 1 / keep_prob])
    chance = np.array([1 - keep_prob, keep_prob])
    return chance @ (values - chance @ values) ** 2


def branches(keep_prob, scaling):
    if scaling == "inverted":
        return 1 / keep_prob - 1
    return keep_prob - keep_prob**2


WEIGHT_DECAY_FACTOR = [
    (factors(), None),
    (from_a_mask, None),
    (branches, None),
    (lambda k, s: np.array([k * (1 - k) / (k**2 if s == "inverted" else 1)]), None),
    (factors(lambda p: (1 - p) / p, lambda p: p * (1 - p)), "The two are swapped"),
    (factors(inverted=lambda p: p * (1 - p)), "without a scale"),
    (factors(weight=lambda p: (1 - p) / p), "variance of a mask scaled by 1/keep_prob"),
    (factors(inverted=lambda p: 1 - p), "what the slides' p"),
    (factors(inverted=lambda p: p / (1 - p)), "upside down"),
    (factors(inverted=lambda p: ((1 - p) / p) ** 0.5), "one root too many"),
    (factors(inverted=lambda p: (1 - p) / p**2), "once too often"),
    (factors(inverted=lambda p: 1 / p), "mean square of a scaled mask"),
    (factors(inverted=lambda p: 1), "factor is 1, whatever keep_prob"),
    (factors(inverted=lambda p: 3 * (1 - p) / p), "the variance of the mask is 0.176"),
    (factors(weight=lambda p: p), "mean square of zeros and ones"),
    (factors(weight=lambda p: 1 - p), "the probability to drop"),
    (factors(weight=lambda p: (p * (1 - p)) ** 0.5), "the standard deviation"),
    (factors(weight=lambda p: (p * (1 - p)) ** 2), "squared once too often"),
    (factors(weight=lambda p: p**2), "square of the mean"),
    (factors(weight=lambda p: (1 - p) ** 2), "one factor is keep_prob"),
    (factors(weight=lambda p: p**2 * (1 - p)), "by keep_prob once too often"),
    (factors(weight=lambda p: p * (1 - p) ** 2), "by 1 - keep_prob once too often"),
    (factors(weight=lambda p: 2 * p * (1 - p)), "no factor 2"),
    (factors(weight=lambda p: p * (1 - p) / 2), "no factor 1/2"),
    (factors(weight=lambda p: p / (1 - p)), "not their ratio"),
    (factors(weight=lambda p: 0.25), "keep_prob=1/2, whatever"),
    (factors(weight=lambda p: 4 * p * (1 - p)), "the variance of the mask is 0.1275"),
    (factors(weight=lambda p: p * (1 - p) if p < 1 else 1), "mask is 0; yours is 1"),
    (factors(inverted=lambda p: "0.25"), "must be one number"),
]

ANSWERS = {
    "geometric_means": GEOMETRIC_MEANS,
    "nwgm": NWGM,
    "counterexample": COUNTEREXAMPLE,
    "dropout_gradient": DROPOUT_GRADIENT,
    "weight_decay_factor": WEIGHT_DECAY_FACTOR,
}


@pytest.mark.filterwarnings("ignore::RuntimeWarning")
@pytest.mark.parametrize(("check", "answer", "message"), cases(baldi, ANSWERS))
def test_answer_is_told_what_it_missed(check, answer, message, capsys):
    assert_told(check, answer, message, capsys)


def test_the_counterexample_is_reported_with_its_numbers(capsys):
    baldi.counterexample(unit([0.3, 0.9], [2 / 3, 1 / 3]))
    assert "E and NWGM 0.0418 apart, the estimate is 0.0000" in capsys.readouterr().out
    with pytest.raises(AssertionError, match=r"\|E - NWGM\| is 0.0626.* is 0.096"):
        baldi.counterexample(unit([0.3, 0.9], [0.5, 0.5]))


def test_one_unnamed_mistake_is_not_taken_for_another():
    """Numbers that no formula of the lists gives get the general message."""
    data = np.random.default_rng(0)
    for wrong in data.uniform(0.3, 3, size=50):
        with pytest.raises(AssertionError, match="the mean gradient by weight"):
            baldi.dropout_gradient(lambda *args, a=wrong: a * RIGHT(*args) + a)
        with pytest.raises(AssertionError, match="For a few outputs"):
            baldi.nwgm(lambda o, p, a=wrong: a * loop_nwgm(o, p) + a)
        with pytest.raises(AssertionError, match="the variance of the mask is"):
            baldi.weight_decay_factor(factors(weight=lambda p, a=wrong: a * p * (1 - p) + a))
