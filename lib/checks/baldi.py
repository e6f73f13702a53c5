"""Checks of the exercises on Baldi's analysis."""

import itertools
import math
import numbers

import numpy as np
from scipy.special import expit as sigmoid
from scipy.special import logit

from lib.checks.common import (
    VARIANCES,
    as_array,
    as_number,
    as_pair,
    call,
    check_value,
    expect,
    farthest,
)
from lib.masks import all_masks, mask_probabilities
from lib.theory import nwgm as theory

EQUALLY = (
    "All outputs count the same. Their probabilities differ: output k has the exponent P_k, not "
    "one over the number of outputs."
)
ARITHMETIC = (
    "This is the arithmetic mean, the sum of P_k O_k. In a geometric mean the outputs are "
    "multiplied and the probabilities are exponents: the product of O_k ** P_k."
)
NO_EXPONENTS = (
    "The outputs are multiplied without exponents. Raise each to its probability first, "
    "O_k ** P_k; since the P_k add up to 1, that takes the root as well."
)
TIMES_PROBABILITY = (
    "The probabilities multiply the outputs. In a weighted geometric mean they are exponents: "
    "O_k ** P_k."
)
OTHER_WAY_ROUND = (
    "Base and exponent are swapped: it is O_k ** P_k, the output raised to its probability."
)
STILL_A_LOGARITHM = "This is the logarithm of it: the exponential is missing."
ROOT_AGAIN = (
    "A root is taken on top. The exponents P_k add up to 1, so the product is a mean already."
)
ONE_LESS_G = (
    "G' is taken for 1 - G. It is a geometric mean of its own, the product of (1 - O_k) ** P_k; "
    "the two add up to less than 1 unless all outputs are equal."
)


def geometric_means(student):
    """Check the two weighted geometric means of a unit's outputs.

    Parameters
    ----------
    student : callable
        ``geometric_means(outputs, probabilities)``, returning the product of O_k ** P_k and that
        of (1 - O_k) ** P_k.

    Raises
    ------
    AssertionError
        Naming what is wrong: arithmetic means, equal weights, 1 - G for the second, no exponents.
    """
    __tracebackhide__ = True
    for outputs, probabilities in _units():
        result = call(student, outputs=outputs, probabilities=probabilities)
        pair = as_pair(result, "g, g_prime")
        g, g_prime = (as_number(value, name) for value, name in zip(pair, ("G", "G'"), strict=True))
        right = _weighted(outputs, probabilities)
        right_prime = _weighted(1 - outputs, probabilities)
        expect(
            not np.allclose((g, g_prime), (right_prime, right)) or np.isclose(right, right_prime),
            "The two are swapped: G is made of the outputs, G' of what they lack to 1.",
        )
        total = right + right_prime
        expect(
            not np.allclose((g, g_prime), (right / total, right_prime / total))
            or np.isclose(total, 1),
            "The two are divided by their sum already. Return G and G' as they are; the next "
            "exercise normalizes them.",
        )
        given = f"With {len(outputs)} outputs"
        check_value(
            g,
            right,
            _geometric(outputs, probabilities),
            f"{given} G, the product of O_k ** P_k, is {right:.6f}; yours is {g:.6f}.",
        )
        check_value(
            g_prime,
            right_prime,
            itertools.chain(
                [
                    (1 - right, ONE_LESS_G),
                    (1 / right, "G' is not 1 / G. It is made like G, of 1 - O_k."),
                    (
                        np.prod(outputs ** (1 - probabilities)),
                        "G' takes the outputs less, not the exponents: (1 - O_k) ** P_k.",
                    ),
                    (
                        np.prod((1 - outputs) ** (1 - probabilities)),
                        "The exponents of G' are those of G, P_k: both have the same masks.",
                    ),
                ],
                _geometric(1 - outputs, probabilities),
            ),
            f"{given} G', the product of (1 - O_k) ** P_k, is {right_prime:.6f}; yours is "
            f"{g_prime:.6f}.",
        )
    print("geometric_means: each output with its probability as exponent.")


def _units():
    """Outputs of a few units, and the probabilities of the masks they belong to."""
    for n, keep_prob in ((2, 0.8), (3, 0.3), (4, 0.5)):
        data = np.random.default_rng(n)
        masks = all_masks(n)
        sums = masks @ data.normal(0, 2, size=n) + data.normal()
        yield sigmoid(sums), mask_probabilities(masks, keep_prob)


def _weighted(factors, exponents):
    """A weighted geometric mean."""
    return np.exp(exponents @ np.log(factors))


def _geometric(factors, probabilities):
    """What may stand for a weighted geometric mean, and what each mistake means."""
    m, right = len(factors), _weighted(factors, probabilities)
    yield probabilities @ factors, ARITHMETIC
    yield factors.mean(), f"{ARITHMETIC} And all outputs count the same."
    yield np.exp(np.log(factors).mean()), EQUALLY
    yield np.prod(factors), NO_EXPONENTS
    yield np.prod(probabilities * factors), TIMES_PROBABILITY
    yield np.prod(probabilities * factors) ** (1 / m), TIMES_PROBABILITY
    yield np.prod(probabilities**factors), OTHER_WAY_ROUND
    yield np.log(right), STILL_A_LOGARITHM
    yield right ** (1 / m), ROOT_AGAIN
    yield math.sqrt(right), ROOT_AGAIN
    yield (factors**probabilities).sum(), "The factors are added: multiply them."
    yield (factors**probabilities).mean(), "The factors are averaged: multiply them."
    yield 1 / (probabilities @ (1 / factors)), "This is the harmonic mean: multiply O_k ** P_k."
    yield np.median(factors), "This is the median. Multiply O_k ** P_k."


NOT_NORMALIZED = (
    "This is G itself: the normalization is forgotten. G and G' add up to less than 1; divide by "
    "their sum, G / (G + G')."
)
BEFORE_THE_SIGMOID = (
    "This is the mean of the logits, log(G / G'). The sigmoid of it is the normalized mean."
)
UNDERFLOW = (
    "The result is NaN, for {which}. Products of many small numbers underflow to 0, and 0/0 is "
    "NaN. Raise each output to its P_k before you multiply, or add logarithms."
)
CLIPPED = (
    "The smallest outputs seem to be clipped, or something was added to them. A geometric mean "
    "needs them as they are: the logarithm of 1e-300 is a fine number, -691."
)


def nwgm(student):
    """Check the normalized weighted geometric mean.

    Parameters
    ----------
    student : callable
        ``nwgm(outputs, probabilities)``, returning G / (G + G').

    Raises
    ------
    AssertionError
        Naming what is wrong: an arithmetic mean, equal weights, no normalization, underflow.
    """
    __tracebackhide__ = True
    tiny = np.array([1e-300, 3e-250, 0.4, 0.9]), np.array([0.01, 0.02, 0.67, 0.3])
    data = np.random.default_rng(12)
    masks = all_masks(12)
    many = sigmoid(masks @ data.normal(0, 1, size=12) - 1), mask_probabilities(masks, 0.3)
    one = np.array([0.2, 0.7]), np.array([0.0, 1.0])
    for which, (outputs, probabilities) in (
        *(("a few outputs", unit) for unit in _units()),
        ("outputs of 1e-300", tiny),
        ("4096 masks", many),
        ("a mask of probability 0", one),
    ):
        result = call(student, outputs=outputs, probabilities=probabilities)
        expect(
            not (isinstance(result, numbers.Real) and math.isnan(result)),
            UNDERFLOW.format(which=which),
        )
        value = as_number(result, "The normalized mean")
        right = float(theory.nwgm(outputs, probabilities))
        check_value(
            value,
            right,
            _normalized(outputs, probabilities),
            f"For {which} G / (G + G') is {right:.6g}, yours is {value:.6g}.",
            rtol=1e-5,
            atol=0,
        )
    print("nwgm: G / (G + G'), for 4096 masks and outputs of 1e-300 too.")


def _normalized(outputs, probabilities):
    """What may stand for G / (G + G'), and what each mistake means."""
    lacks, mean = 1 - outputs, probabilities @ outputs
    g, g_prime = _weighted(outputs, probabilities), _weighted(lacks, probabilities)
    equal, equal_prime = (np.exp(np.log(values).mean()) for values in (outputs, lacks))
    yield mean, f"{ARITHMETIC} Then G / (G + G')."
    yield outputs.mean(), f"{ARITHMETIC} And all count the same here."
    yield _share(equal, equal_prime), EQUALLY
    yield g, NOT_NORMALIZED
    yield equal, NOT_NORMALIZED
    yield _share(g_prime, g), "This is G' / (G + G'): G belongs on top."
    yield g / g_prime, "This is G / G'. Divide by G + G', so that the two shares add up to 1."
    yield g / (1 + g), "This is G / (1 + G): G' is not 1."
    yield (
        g / (g + mean),
        "G is divided by G plus the arithmetic mean: G' is the product of (1 - O_k) ** P_k.",
    )
    yield logit(_share(g, g_prime)), BEFORE_THE_SIGMOID
    yield (
        sigmoid(mean),
        "This is the sigmoid of the mean OUTPUT. It is the mean SUM whose sigmoid is the NWGM, "
        "and the sum is the logit of the output.",
    )
    product, product_prime = outputs.prod(), lacks.prod()
    if product + product_prime > 0:  # not so for many outputs
        yield _share(product, product_prime), NO_EXPONENTS
    for eps in 10.0 ** -np.arange(3, 17):
        for changed in (outputs, outputs + eps):
            changed = np.clip(changed, eps, 1 - eps)
            both = (_weighted(values, probabilities) for values in (changed, 1 - changed))
            yield _share(*both), CLIPPED
        both = (_weighted(values + eps, probabilities) for values in (outputs, lacks))
        yield _share(*both), CLIPPED


def _share(a, b):
    return a / (a + b)


def counterexample(student):
    """Check that a unit is a counterexample to the estimate of how good the NWGM is.

    Parameters
    ----------
    student : callable
        ``counterexample()``, returning outputs in (0, 1) and their probabilities, for which
        ``|E - NWGM|`` is larger than ``2 E (1 - E) |1 - 2E|``.

    Raises
    ------
    AssertionError
        Saying by how much the estimate holds, or why these are no outputs with probabilities.
    """
    __tracebackhide__ = True
    pair = as_pair(call(student), "outputs, probabilities")
    outputs, probabilities = (
        _row(value, name) for value, name in zip(pair, ("outputs", "probabilities"), strict=True)
    )
    expect(
        len(outputs) == len(probabilities),
        f"There are {len(outputs)} outputs and {len(probabilities)} probabilities: each output "
        "needs one.",
    )
    total = probabilities.sum()
    expect(
        (probabilities >= 0).all(),
        f"A probability is {probabilities.min():.4g}. Probabilities are not negative.",
    )
    expect(
        np.isclose(total, 1, rtol=0, atol=1e-9),
        f"The probabilities add up to {total:.6g}, not to 1: some mask is always drawn.",
    )
    worst = outputs[np.abs(outputs - 0.5).argmax()]
    expect(
        (outputs > 0).all() and (outputs < 1).all(),
        f"An output is {worst:.6g}. A sigmoid stays strictly between 0 and 1; in floating point "
        "1 - 1e-17 is 1 as well.",
    )
    mean = float(probabilities @ outputs)
    geometric = float(theory.nwgm(outputs, probabilities))
    distance, estimate = abs(mean - geometric), 2 * mean * (1 - mean) * abs(1 - 2 * mean)
    _check_exceeded(distance, estimate, mean, outputs[probabilities > 0])
    print(f"counterexample: E and NWGM {distance:.4f} apart, the estimate is {estimate:.4f}.")


def _row(value, name):
    """A student's list of numbers."""
    __tracebackhide__ = True
    try:
        row = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        row = None
    expect(
        row is not None and row.ndim == 1 and row.size > 0,
        f"{name} must be a list of numbers, or an array of shape (m,).",
    )
    return as_array(row, row.shape, name)


def _check_exceeded(distance, estimate, mean, outputs):
    __tracebackhide__ = True
    numbers_are = f"|E - NWGM| is {distance:.4g} and 2E(1 - E)|1 - 2E| is {estimate:.4g}"
    expect(
        np.ptp(outputs) > 1e-9,
        "All outputs that can happen are the same, so the arithmetic and the geometric mean are "
        "that very number. The masks must make a difference.",
    )
    expect(
        distance > 1e-12 or abs(mean - 0.5) > 1e-9,
        "E is 1/2 and the right side 0: well aimed. But the NWGM is 1/2 too, since outputs that "
        "lie evenly about 1/2 pull it both ways alike. Let them lie unevenly, with E = 1/2.",
    )
    expect(
        distance > estimate,
        f"The estimate holds here: {numbers_are}, so {estimate - distance:.4g} is to "
        "spare. Where is the right side 0, whatever the outputs do?",
    )
    expect(
        distance > estimate + 1e-6,
        f"{numbers_are}: that is exceeded by {distance - estimate:.1g} only, which may be "
        "rounding. Exceed it by more than 1e-6.",
    )


AT_THE_MEAN = (
    "This is the gradient of the ensemble, at the mean sum: one mask that holds keep_prob. The "
    "sigmoid bends, so take the gradient for each mask first, then its mean."
)
UNMASKED_DERIVATIVE = (
    "The mask is forgotten in the derivative. The sum is S = sum_i m_i w_i x_i, so dS/dw_i is "
    "m_i x_i: a weight whose input is dropped gets no gradient."
)
UNMASKED_SUM = (
    "The mask is forgotten in the sum: output - t belongs to the masked sum, sum_i m_i w_i x_i."
)
APART = (
    "output - t and the mask are averaged apart, then multiplied. They go together: with input i "
    "kept the output is another than with it dropped. Multiply for each mask, then take the mean."
)
NO_MASK = "There is no mask: this is the gradient without dropout."
SQUARED_ERROR = (
    "There is a factor sigma'(S) = O (1 - O), as with the squared error. With cross-entropy it "
    "cancels, and the derivative by the sum is O - t."
)
NO_INPUT = "The inputs are missing: the derivative of the sum by w_i is m_i x_i."
WEIGHT_FOR_INPUT = "The derivative of the sum by w_i is m_i x_i, not m_i w_i."
INVERTED = "The masks are scaled by 1/keep_prob. In this exercise they hold zeros and ones."
NO_TARGET = "The target is missing: the derivative of the loss by the sum is O - t."
OF_DROPPING = (
    "The probabilities are those of dropping: did you take keep_prob for the probability to drop?"
)
TARGET_FLIPPED = "This is the gradient for the target 1 - t."


def dropout_gradient(student):
    """Check the gradient of the loss under dropout, averaged over all masks.

    Parameters
    ----------
    student : callable
        ``dropout_gradient(w, x, t, keep_prob)`` of a sigmoid unit with cross-entropy and masks of
        zeros and ones, returning the mean over the masks of (O - t) m_i x_i.

    Raises
    ------
    AssertionError
        Naming what is wrong: the gradient at the mean sum, the mask forgotten in the derivative,
        masks weighted equally, the sign, masks that are drawn.
    """
    __tracebackhide__ = True
    for n, t, keep_prob in ((4, 1, 0.8), (3, 0, 0.3), (5, 1, 0.5), (2, 0.3, 0.7), (3, 1, 1.0)):
        data = np.random.default_rng(n)
        w, x = data.normal(0, 2, size=n), data.uniform(0.4, 1.6, size=n)
        given = {"w": w, "x": x, "t": t, "keep_prob": keep_prob}
        why = "There is one entry for each weight."
        gradient = as_array(call(student, **given), (n,), "The gradient", why)
        right = theory.dropout_gradient(w, x, t, keep_prob)
        if np.allclose(gradient, right, rtol=1e-4, atol=1e-6):
            continue
        expect(
            all(np.array_equal(gradient, call(student, **given)) for _ in range(12)),
            "Two calls give different gradients: are masks drawn at random? The mean over all "
            f"masks is asked for, and {n} inputs have only {2**n}.",
        )
        (i,) = farthest(gradient, right)
        off = np.linalg.norm(gradient - right) / np.linalg.norm(right)
        check_value(
            gradient,
            right,
            _gradients(w, x, t, keep_prob),
            f"For {n} inputs, t={t} and keep_prob={keep_prob} the mean gradient by weight {i} is "
            f"{right[i]:.6f}, yours is {gradient[i]:.6f}."
            + (" Near, but not equal: list all masks." if off < 0.1 else ""),
            rtol=1e-4,
            atol=1e-6,
        )
    print("dropout_gradient: averaged over all masks, each with its probability.")


def _gradients(w, x, t, keep_prob):
    """What may stand for the gradient, and what each mistake means: with either sign."""
    wrong = [
        (theory.dropout_gradient(w, x, t, keep_prob), None),
        *_wrong_gradients(w, x, t, keep_prob),
    ]
    for sign, of_sign in (
        (1, None),
        (-1, "The sign is turned round: with cross-entropy the derivative by the sum is O - t."),
    ):
        for gradient, message in wrong:
            if message or of_sign:
                yield sign * gradient, message or of_sign


def _wrong_gradients(w, x, t, keep_prob):
    masks = all_masks(len(w))
    chance = mask_probabilities(masks, keep_prob)
    outputs = sigmoid(masks * x @ w)
    delta, whole = outputs - t, sigmoid(x @ w) - t
    if keep_prob != 0.5:
        yield delta @ masks * x / len(masks), _equally(keep_prob)
        swapped = mask_probabilities(masks, 1 - keep_prob) if keep_prob < 1 else chance[::-1]
        yield (swapped * delta) @ masks * x, OF_DROPPING
    at_mean = sigmoid(keep_prob * x @ w) - t
    yield at_mean * keep_prob * x, AT_THE_MEAN
    yield at_mean * x, f"{AT_THE_MEAN} And dS/dw_i would be keep_prob x_i there."
    yield chance @ delta * x, UNMASKED_DERIVATIVE
    yield delta.mean() * x, UNMASKED_DERIVATIVE
    yield whole * keep_prob * x, UNMASKED_SUM
    yield whole * masks.mean(axis=0) * x, UNMASKED_SUM
    yield whole * x, NO_MASK
    yield (chance @ delta) * keep_prob * x, APART
    slope = outputs * (1 - outputs)
    yield (chance * delta * slope) @ masks * x, SQUARED_ERROR
    yield (chance * delta) @ masks, NO_INPUT
    yield (chance * delta) @ masks * w, WEIGHT_FOR_INPUT
    yield (chance * outputs) @ masks * x, NO_TARGET
    yield (chance * (outputs - (1 - t))) @ masks * x, TARGET_FLIPPED
    yield theory.dropout_gradient(w, x, t, keep_prob, scaling="inverted"), INVERTED
    yield (chance * (sigmoid(masks / keep_prob * x @ w) - t)) @ masks * x, INVERTED
    yield (chance * delta) @ masks * x / keep_prob, INVERTED
    yield (
        (chance * delta) @ masks * x / len(masks),
        "Weighted by their probabilities the gradients are summed, not averaged once more.",
    )
    yield delta @ masks * x, "The gradients of all masks are summed without their probabilities."
    kept = masks.sum(axis=1)
    for weights in (keep_prob**kept, (1 - keep_prob) ** (len(w) - kept)):
        yield (
            (weights * delta) @ masks * x,
            "The probabilities of the masks do not add up to 1: it is "
            "keep_prob^kept * (1 - keep_prob)^dropped.",
        )
    for row in masks[:-1]:
        yield (
            (sigmoid(row * x @ w) - t) * row * x,
            "This is the gradient for a single mask. Average over all of them.",
        )


def _equally(keep_prob):
    return (
        f"All masks count the same. With keep_prob={keep_prob} they are not equally likely: weight "
        "each by its probability, keep_prob^kept * (1 - keep_prob)^dropped."
    )


# What may stand for the variance p (1 - p) of a mask of zeros and ones.
UNSCALED_VARIANCES = (
    (
        lambda p: (1 - p) / p,
        "(1 - keep_prob) / keep_prob, the variance of a mask scaled by 1/keep_prob. Zeros and ones "
        "have keep_prob (1 - keep_prob).",
    ),
    (
        lambda p: p,
        "keep_prob, which is the mean square of zeros and ones. Their variance is less, by the "
        "square of the mean: keep_prob - keep_prob^2.",
    ),
    (
        lambda p: 1 - p,
        "1 - keep_prob, the probability to drop. The variance of zeros and ones is "
        "keep_prob (1 - keep_prob).",
    ),
    (
        lambda p: math.sqrt(p * (1 - p)),
        "the standard deviation. The factor is the variance, without a root.",
    ),
    (
        lambda p: (p * (1 - p)) ** 2,
        "squared once too often: keep_prob (1 - keep_prob) is a variance already.",
    ),
    (lambda p: p**2, "keep_prob squared, the square of the mean. The variance is what is left."),
    (lambda p: (1 - p) ** 2, "the square of 1 - keep_prob: one factor is keep_prob."),
    (lambda p: p**2 * (1 - p), "multiplied by keep_prob once too often."),
    (lambda p: p * (1 - p) ** 2, "multiplied by 1 - keep_prob once too often."),
    (lambda p: 2 * p * (1 - p), "twice too large: there is no factor 2."),
    (lambda p: p * (1 - p) / 2, "half of what it must be: there is no factor 1/2."),
    (
        lambda p: p / (1 - p),
        "keep_prob / (1 - keep_prob). Take the product of the two, not their ratio.",
    ),
    (
        lambda p: 0.25,
        "that of keep_prob=1/2, whatever keep_prob is: take keep_prob (1 - keep_prob).",
    ),
)


def weight_decay_factor(student):
    """Check the variance of a mask, with and without the scale 1/keep_prob.

    Parameters
    ----------
    student : callable
        ``weight_decay_factor(keep_prob, scaling)``, returning keep_prob (1 - keep_prob) for the
        scaling "weight" and (1 - keep_prob) / keep_prob for "inverted".

    Raises
    ------
    AssertionError
        Naming what is wrong: one formula for both, the two swapped, a slip in either.
    """
    __tracebackhide__ = True
    wrong = {
        "weight": UNSCALED_VARIANCES,
        "inverted": [(of, f"{name}, {message}") for name, (of, message) in VARIANCES.items()],
    }
    right = {"weight": lambda p: p * (1 - p), "inverted": lambda p: (1 - p) / p}

    def factor(scaling, p):
        __tracebackhide__ = True
        value = call(student, keep_prob=p, scaling=scaling)
        return as_number(value, f'The factor for scaling="{scaling}"')

    expect(
        not np.allclose(
            [factor(scaling, 0.85) for scaling in right], [of(0.85) for of in right.values()][::-1]
        ),
        'The two are swapped: with scaling="inverted" the mask is divided by keep_prob, and its '
        "variance by keep_prob squared.",
    )
    for p, scaling in itertools.product((0.85, 0.3, 0.55, 1.0), right):
        value, correct = factor(scaling, p), right[scaling](p)
        mistakes = (
            (of(p), f'With scaling="{scaling}" the factor is {message}')
            for of, message in wrong[scaling]
            if p < 1
        )
        otherwise = (
            f'With keep_prob={p} and scaling="{scaling}" the variance of the mask is {correct:.6g};'
            f" yours is {value:.6g}."
        )
        check_value(value, correct, mistakes, otherwise)
    print("weight_decay_factor: the variance of the mask, for both scalings.")
