"""Checks of the exercises on Baldi's analysis."""

import math

import numpy as np
from scipy.special import expit as sigmoid
from scipy.special import logit, softmax

from lib.checks.engine import Array, Number, exercise, summary_of, varied
from lib.checks.traits import VARIANCES, first
from lib.masks import all_masks, mask_probabilities

summary = summary_of("baldi")


# A table reads best with one idea in one block.
# fmt: off

# Two geometric means


def unit_cases(data):
    """Outputs of a unit, one for each mask, and the masks' probabilities."""
    cases = []
    for n, keep_prob in ((2, 0.8), (3, 0.3), (4, 0.5), (1, 0.7)):
        masks = all_masks(n)
        outputs = sigmoid(masks @ data.normal(0, 2, n) + data.normal())
        cases.append({"outputs": outputs, "probabilities": mask_probabilities(masks, keep_prob)})
    drawn = data.dirichlet(np.ones(8))
    others = sigmoid(data.normal(0, 2, 8))
    return [*cases, cases[1] | {"probabilities": drawn}, cases[1] | {"outputs": others}]


def weighted(values, p):
    """A weighted geometric mean."""
    return np.exp(p @ np.log(values))


@exercise(
    returns=(Number("G", "g"), Number("G'", "g_prime")),
    cases=unit_cases,
    otherwise="G is the product of O_k ** P_k, and G' that of (1 - O_k) ** P_k.",
    done="each output with its probability as exponent.",
)
def geometric_means(outputs, probabilities, *, mean=weighted, prime=weighted):
    """Weighted geometric means of the outputs and of 1 - outputs."""
    return mean(outputs, probabilities), prime(1 - outputs, probabilities)


MEANS = (  # what is taken for a weighted geometric mean
    ("arithmetic-mean", "This is an arithmetic mean, a sum. In a geometric mean the outputs are "
     "multiplied and the probabilities are exponents: the product of O_k ** P_k.",
     lambda v, p: p @ v, lambda v, p: v.mean()),
    ("equal-weights", "All outputs count the same. Output k has the exponent P_k, not one over the "
     "number of outputs.", lambda v, p: np.exp(np.log(v).mean())),
    ("no-exponents", "The outputs are multiplied without exponents. The probability of each is its "
     "exponent, not a factor: O_k ** P_k.", lambda v, p: np.prod(v), lambda v, p: np.prod(p * v)),
    ("still-a-logarithm", "This is the logarithm of it: the exponential is missing.",
     lambda v, p: p @ np.log(v)),
    ("root-again", "A root is taken on top. The exponents P_k add up to 1: the product is a mean.",
     lambda v, p: weighted(v, p) ** (1 / len(v)), lambda v, p: weighted(v, p) ** 0.5),
    ("another-mean", "This is the harmonic mean. Multiply O_k ** P_k.",
     lambda v, p: 1 / (p @ (1 / v))),
)
for idea, sentence, *means in MEANS:
    geometric_means.wrong(idea, sentence, *({"mean": each, "prime": each} for each in means))
wrong = geometric_means.wrong
wrong("swapped", "The two are swapped: G is made of the outputs, G' of what they lack to 1.",
      lambda o, p: geometric_means.right(1 - o, p))
wrong("divided-by-sum", "The two are divided by their sum already. Return G and G' as they are; "
      "the next exercise normalizes them.",
      lambda o, p: (v := np.array(geometric_means.right(o, p))) / v.sum())
wrong("one-minus-g", "G' is neither 1 - G nor G again. It is a geometric mean of its own, the "
      "product of (1 - O_k) ** P_k.", *varied("prime", lambda v, p: 1 - weighted(1 - v, p),
      lambda v, p: weighted(1 - v, p)))
wrong("other-exponents", "G' takes 1 less the outputs, and the exponents of G: (1 - O_k) ** P_k. "
      "Both have the same masks.", *varied("prime", lambda v, p: weighted(v, 1 - p),
      lambda v, p: weighted(1 - v, 1 - p)))


# The normalized geometric mean


def nwgm_cases(data):
    def case(outputs, probabilities):
        return {"outputs": outputs, "probabilities": probabilities}

    masks, sums = all_masks(12), np.linspace(-600, 20, 1000)
    many = case(sigmoid(masks @ data.normal(0, 1, 12) - 1), mask_probabilities(masks, 0.3))
    apart = case(np.array([1e-300, 1 - 1e-15]), np.array([0.05, 0.95]))  # G and G' are tiny
    sure = case(np.array([0.2, 0.7]), np.array([0.0, 1.0]))
    return [unit_cases(data), [apart], [many, case(sigmoid(sums), softmax(sums / 20)), sure]]


@exercise(
    returns=Number("The normalized mean"),
    cases=nwgm_cases,
    otherwise="It is G / (G + G'), where G is the product of O_k ** P_k: with logarithms, and in "
    "double precision, nothing underflows.",
    done="G / (G + G'), for 4096 masks and outputs of 1e-300 too.",
)
def nwgm(outputs, probabilities, *, mean=weighted, prime=None, of=lambda g, h: g / (g + h)):
    """Normalized weighted geometric mean."""
    return of(mean(outputs, probabilities), (prime or mean)(1 - outputs, probabilities))


for idea, sentence, *means in MEANS:
    nwgm.wrong(idea, sentence, *varied("mean", *means))
wrong = nwgm.wrong
wrong("not-normalized", "This is G itself. G and G' add up to less than 1: divide by their sum.",
      {"of": lambda g, h: g})
wrong("prime-on-top", "This is G', or has it on top: it is G / (G + G').",
      *varied("of", lambda g, h: h / (g + h), lambda g, h: h))
wrong("odds", "This is G / G'. Divide by G + G', so that the two shares add up to 1.",
      {"of": lambda g, h: g / h})
wrong("arithmetic-prime", "G' is the product of (1 - O_k) ** P_k, not 1 or an arithmetic mean.",
      *varied("prime", lambda v, p: p @ v, lambda v, p: 1 - p @ v, lambda v, p: 1))
wrong("mean-logit", "This is the mean of the logits. The sigmoid of it is the normalized mean.",
      {"of": lambda g, h: np.log(g / h)})
wrong("sigmoid-of-output", "This is the sigmoid of the mean OUTPUT. Take that of the mean SUM, the "
      "logit of the output.", lambda o, p: sigmoid(p @ o))
wrong("clipped", "The smallest outputs seem to be clipped or left out, or something was added. "
      "Take them as they are: the logarithm of 1e-300 is a fine number, -691.",
      *({"mean": lambda v, p, e=e: weighted(v + e, p)} for e in 10.0 ** -np.arange(4, 17)),
      *({"of": lambda g, h, e=e: g / (g + h + e)} for e in 10.0 ** -np.arange(4, 13)))
wrong("single-precision", "Outputs such as 1e-300 are 0 in single precision: compute in double.",
      {"mean": lambda v, p: weighted(np.float32(v), np.float32(p))},
      lambda o, p: nwgm.right(np.float32(o), p))
wrong("underflow", "With many masks it underflows: a product of many small numbers is 0, and 0/0 "
      "is NaN. Raise each output to its P_k before you multiply, or add logarithms.",
      {"mean": lambda v, p: np.prod(v ** (len(v) * p)) ** (1 / len(v))})


# A bound that is none


def counterexample_traits(run, data):
    try:
        o, p = (np.asarray(each, dtype=float) for each in run(raw=True))
    except (TypeError, ValueError):
        o = p = np.array(0.0)
    if o.ndim != 1 or o.shape != p.shape or not o.size:
        return first((True, "lengths", "Return two lists of numbers, of one length: return "
                      "outputs, probabilities."))
    worst, off = o[np.abs(o - 0.5).argmax()], abs(p.sum() - 1) > 1e-6
    return first(
        (not (p >= 0).all(), "negative-probability",
         f"A probability is {p.min():.4g}: it must be 0 or more."),
        (off and abs(o.sum() - 1) < 1e-6 and (p < 1).all(), "swapped",
         "Are the two in the other order? Return the outputs first, then their probabilities."),
        (off, "no-distribution",
         f"The probabilities add up to {p.sum():.6g}, not to 1: some mask is always drawn."),
        (not 0 < worst < 1, "outside-0-1", f"An output is {worst:.6g}. A sigmoid stays strictly "
         "between 0 and 1; in floating point 1 - 1e-17 is 1 as well."),
    ) or exceeded(o, p / p.sum())


def exceeded(o, p):
    """Whether |E - NWGM| exceeds the estimate."""
    mean, geometric = p @ o, sigmoid(p @ logit(o))
    distance, estimate = abs(mean - geometric), 2 * mean * (1 - mean) * abs(1 - 2 * mean)
    numbers = f"|E - NWGM| is {distance:.4g} and 2E(1 - E)|1 - 2E| is {estimate:.4g}"
    skew = abs(p @ (o - mean) ** 3) / max(p @ (o - mean) ** 2, 1e-100) ** 1.5
    return first(
        (np.ptp(o[p > 0]) <= 1e-9, "no-difference", "All outputs that can happen are the same, and "
         "so are the two means. The masks must make a difference."),
        (skew < 1e-4 and abs(mean - 0.5) < 1e-9, "evenly", "E is 1/2 and the right side 0: well "
         "aimed. But outputs evenly about 1/2 have the NWGM 1/2 too. Let them lie unevenly."),
        (distance <= estimate > 1e-6, "holds", f"The estimate holds here: {numbers}. Where is the "
         "right side 0, whatever the outputs do?"),
        (distance <= estimate + 1e-6, "by-too-little",
         f"{numbers}: exceed it by more than 1e-6. Take outputs farther apart."),
    )


@exercise(
    returns=Number("outputs, probabilities"),
    traits=counterexample_traits,
    done="|E - NWGM| is larger than the estimate, so this is no bound.",
)
def counterexample():
    """Outputs and probabilities that exceed the estimate."""
    return [0.3, 0.9], [2 / 3, 1 / 3]


# The gradient, averaged over all masks


def gradient_cases(data):
    def case(n, t, keep_prob):
        w, x = data.normal(0, 2, n), data.uniform(0.4, 1.6, n) * data.choice([-1, 1, 1], n)
        return {"w": w, "x": x, "t": t, "keep_prob": keep_prob}

    one, other = case(8, 1, 0.8), case(8, 0.3, 0.35)
    return [[one, *(one | {name: other[name]} for name in one), case(3, 0, 0.3), case(5, 1, 0.5),
             case(1, 0, 0.6)], [case(3, 1, 1.0)]]


@exercise(
    returns=Array("The gradient", lambda w: w.shape, "There is one entry for each weight."),
    cases=gradient_cases,
    rtol=1e-4,
    otherwise="List all masks, draw none: for each take (O - t) m_i x_i, weighted by its "
    "probability, and add them up.",
    chance="Two calls give different gradients: are masks drawn at random? The mean over all masks "
    "is asked for, and n inputs have only 2^n: list them.",
    done="averaged over all masks, each with its probability.",
)
def dropout_gradient(w, x, t, keep_prob, *, weigh=mask_probabilities, summed=lambda m, p: m,
                     passed=lambda m, x, w: m * x, delta=lambda o, t: o - t, scale=lambda p: 1):
    """Mean gradient of the cross-entropy over all masks."""
    masks = all_masks(len(w))
    o = sigmoid(summed(masks, keep_prob) @ (w * x))
    return scale(keep_prob) * (weigh(masks, keep_prob) * delta(o, t)) @ passed(masks, x, w)


def at_mean(w, x, t, keep_prob):
    return (sigmoid(keep_prob * x @ w) - t) * keep_prob * x


def with_decay(w, x, t, keep_prob):
    o = sigmoid(keep_prob * x @ w)
    return at_mean(w, x, t, keep_prob) + o * (1 - o) * keep_prob * (1 - keep_prob) * x**2 * w


def of_means(w, x, t, keep_prob, mean_loss=True):
    """From the mean output: the gradient of its loss, or output and mask averaged apart."""
    masks = all_masks(len(w))
    o, chance = sigmoid(masks @ (w * x)), mask_probabilities(masks, keep_prob)
    mean = chance @ o
    slope = (chance * o * (1 - o)) @ masks / (mean * (1 - mean)) if mean_loss else keep_prob
    return (mean - t) * slope * x


wrong = dropout_gradient.wrong
wrong("at-the-mean", "This is the gradient of the ensemble, at the mean sum. The sigmoid bends: "
      "take the gradient for each mask first, then its mean.", at_mean,
      lambda w, x, t, p: at_mean(w, x, t, p) / p)
wrong("with-decay", "This is the ensemble's gradient and the weight decay: an approximation. The "
      "mean over all masks is asked for, exactly: list them.", with_decay)
wrong("loss-of-mean-output", "This is the gradient of the loss of the MEAN output. Each mask has a "
      "loss of its own: take the gradient of each, then the mean.", of_means)
wrong("averaged-apart", "output - t and the mask are averaged apart. They go together, since with "
      "input i kept the output is another: multiply for each mask, then take the mean.",
      lambda *given: of_means(*given, mean_loss=False))
wrong("no-mask", "There is no mask: this is the gradient without dropout.",
      lambda w, x, t, p: at_mean(w, x, t, 1))
wrong("unmasked-derivative", "The mask is forgotten in one of two places: the sum is S = sum_i m_i "
      "w_i x_i, and so its derivative by w_i is m_i x_i.",
      {"passed": lambda m, x, w: np.ones_like(m) * x}, {"summed": lambda m, p: np.ones_like(m)})
wrong("equal-weights", "All masks count the same. Weight each by its probability, keep_prob^kept * "
      "(1 - keep_prob)^dropped.", *varied("weigh", lambda m, p: np.full(len(m), 1 / len(m)),
      lambda m, p: np.ones(len(m))))
wrong("drop-for-keep", "The probabilities are those of dropping: did you take keep_prob for the "
      "probability to drop?", {"weigh": lambda m, p: mask_probabilities(m, 1 - p)})
wrong("squared-error", "There is a factor O (1 - O), as with the squared error. With cross-entropy "
      "it cancels: the derivative by the sum is O - t.",
      *varied("delta", lambda o, t: (o - t) * o * (1 - o), lambda o, t: 2 * (o - t) * o * (1 - o)))
wrong("weight-for-input", "The derivative of the sum by w_i is m_i x_i: the mask, and the input "
      "once.", *varied("passed", lambda m, x, w: m * w, lambda m, x, w: m * w * x,
      lambda m, x, w: m, lambda m, x, w: m * x**2, lambda m, x, w: (1 - m) * x))
wrong("inverted", "The masks are scaled by 1/keep_prob. In this exercise they hold zeros and ones.",
      {"summed": lambda m, p: m / p, "scale": lambda p: 1 / p}, {"summed": lambda m, p: m / p})
wrong("given-kept", "The mean is divided by keep_prob, as if input i were always kept. Masks that "
      "drop it count too: their gradient is 0.", {"scale": lambda p: 1 / p})


# Where is the decay largest?


def factor_cases(data):
    keep_probs = (0.85, 0.3, 0.55, *data.uniform(0.05, 0.95, 2).round(2).tolist())
    return [[{"keep_prob": p, "scaling": s} for p in some for s in ("weight", "inverted")]
            for some in (keep_probs, (1.0,))]


@exercise(
    returns=Number("The factor"),
    cases=factor_cases,
    otherwise="The variance of a mask is the mean of its square less the square of its mean.",
    done="the variance of the mask, for both scalings.",
)
def weight_decay_factor(keep_prob, scaling, *, plain=lambda p: p * (1 - p),
                        inverted=lambda p: (1 - p) / p):
    """Variance of the mask, without a scale or divided by keep_prob."""
    return (plain if scaling == "weight" else inverted)(keep_prob)


wrong = weight_decay_factor.wrong
wrong("swapped", "The two are swapped: with scaling=\"inverted\" the mask is divided by keep_prob, "
      "and its variance by keep_prob squared.",
      {"plain": lambda p: (1 - p) / p, "inverted": lambda p: p * (1 - p)})
wrong("inverted-multiplied", "With scaling={scaling} the mask is DIVIDED by keep_prob, so its "
      "variance is divided by keep_prob squared, not multiplied.",
      *varied("inverted", lambda p: p * (1 - p) * p**2, lambda p: p * (1 - p) * p))
PLAIN = (  # what is taken for the variance p (1 - p) of zeros and ones
    ("of-inverted", "(1 - keep_prob) / keep_prob, that of a mask scaled by 1/keep_prob. Zeros and "
     "ones have keep_prob (1 - keep_prob).", lambda p: (1 - p) / p),
    ("mean-square", "keep_prob, the mean square of zeros and ones. Take off the square of the "
     "mean: keep_prob - keep_prob^2.", lambda p: p),
    ("drop-probability", "1 - keep_prob, the probability to drop. The variance of zeros and ones "
     "is keep_prob (1 - keep_prob).", lambda p: 1 - p),
    ("root", "the standard deviation. Take the variance, without a root.",
     lambda p: math.sqrt(p * (1 - p))),
)
for idea, why, of in PLAIN:
    wrong(f"plain-{idea}", f"With scaling={{scaling}} the factor is {why}", {"plain": of})
for idea, formula, of, why in VARIANCES:
    wrong(f"inverted-{idea}", f"With scaling={{scaling}} the factor is {formula}, {why}",
          {"inverted": of})
