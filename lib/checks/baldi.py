"""Checks of the exercises on Baldi's analysis."""

import math

import numpy as np
from scipy.special import expit as sigmoid
from scipy.special import logit, softmax

from lib.checks.engine import Array, Number, exercise, found, summary_of, varied
from lib.checks.traits import VARIANCES
from lib.masks import all_masks, mask_probabilities

summary = summary_of("baldi")


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
    (
        "arithmetic-mean",
        "This is an arithmetic mean, a sum of P_k O_k. In a geometric mean the outputs are "
        "multiplied and the probabilities are exponents: the product of O_k ** P_k.",
        lambda v, p: p @ v, lambda v, p: v.mean(),
    ),
    (
        "equal-weights",
        "All outputs count the same. Their probabilities differ: output k has the exponent P_k, "
        "not one over the number of outputs.",
        lambda v, p: np.exp(np.log(v).mean()), lambda v, p: np.prod(v) ** (1 / len(v)),
    ),
    (
        "no-exponents",
        "The outputs are multiplied without exponents. Raise each to its probability first, "
        "O_k ** P_k; since the P_k add up to 1, that takes the root as well.",
        lambda v, p: np.prod(v),
    ),
    (
        "probabilities-multiply",
        "The probabilities multiply the outputs. In a weighted geometric mean they are exponents: "
        "O_k ** P_k.",
        lambda v, p: np.prod(p * v), lambda v, p: np.prod(p * v) ** (1 / len(v)),
    ),
    (
        "base-and-exponent",
        "Base and exponent are swapped: it is O_k ** P_k, the output raised to its probability.",
        lambda v, p: np.prod(p**v), lambda v, p: np.exp(v @ np.log(p)),
    ),
    (
        "still-a-logarithm",
        "This is the logarithm of it: the exponential is missing.",
        lambda v, p: p @ np.log(v), lambda v, p: -p @ np.log(v),
    ),
    (
        "root-again",
        "A root is taken on top. The exponents P_k add up to 1, so the product is a mean already.",
        lambda v, p: weighted(v, p) ** (1 / len(v)), lambda v, p: weighted(v, p) ** 0.5,
    ),
    (
        "other-powers",
        "The exponents are the probabilities themselves, not 1 - P_k or 1 / P_k.",
        lambda v, p: weighted(v, 1 - p), lambda v, p: weighted(v, 1 / p),
    ),
    (
        "added",
        "The factors O_k ** P_k are added or averaged: multiply them.",
        lambda v, p: (v**p).sum(), lambda v, p: (v**p).mean(),
    ),
    (
        "another-mean",
        "This is the harmonic mean, the median, or the root of a mean square. Multiply O_k ** P_k.",
        lambda v, p: 1 / (p @ (1 / v)), lambda v, p: np.median(v), lambda v, p: np.sqrt(p @ v**2),
        lambda v, p: len(v) / (1 / v).sum(),
    ),
)  # fmt: skip
for idea, sentence, *means in MEANS:
    geometric_means.wrong(idea, sentence, *({"mean": each, "prime": each} for each in means))
# fmt: off
wrong = geometric_means.wrong
wrong("swapped", "The two are swapped: G is made of the outputs, G' of what they lack to 1.",
      lambda o, p: geometric_means.right(1 - o, p))
wrong("divided-by-sum", "The two are divided by their sum already. Return G and G' as they are; "
      "the next exercise normalizes them.",
      lambda o, p: (v := np.array(geometric_means.right(o, p))) / v.sum())
wrong("one-minus-g", "G' is taken for 1 - G. It is a geometric mean of its own, the product of (1 "
      "- O_k) ** P_k; the two add up to less than 1 unless all outputs are equal.",
      {"prime": lambda v, p: 1 - weighted(1 - v, p)})
wrong("g-again", "G' is G once more. It is made of what the outputs lack to 1, of 1 - O_k.",
      {"prime": lambda v, p: weighted(1 - v, p)})
wrong("one-by-g", "G' is not 1 / G. It is made like G, of 1 - O_k.",
      {"prime": lambda v, p: 1 / weighted(1 - v, p)})
wrong("other-exponents", "G' takes 1 less the outputs, and the exponents of G: (1 - O_k) ** P_k. "
      "Both have the same masks.", {"prime": lambda v, p: weighted(1 - v, 1 - p)},
      {"prime": lambda v, p: weighted(v, 1 - p)})
# fmt: on


# The normalized geometric mean


def nwgm_cases(data):
    masks, few = all_masks(12), unit_cases(data)
    many = sigmoid(masks @ data.normal(0, 1, 12) - 1)
    tiny = np.array([1e-300, 3e-250, 0.4, 0.9]), np.array([0.01, 0.02, 0.67, 0.3])
    sums = np.linspace(-600, 20, 1000)
    large = sigmoid(sums), softmax(sums / 20)
    apart = np.array([1e-300, 1 - 1e-15]), np.array([0.05, 0.95])  # G and G' are tiny
    others = (tiny, large, apart, (many, mask_probabilities(masks, 0.3)),
              (np.array([0.2, 0.7]), np.array([0.0, 1.0])))  # fmt: skip
    return few + [{"outputs": outputs, "probabilities": p} for outputs, p in others]


@exercise(
    returns=Number("The normalized mean"),
    cases=nwgm_cases,
    otherwise="It is G / (G + G'), where G is the product of O_k ** P_k: with logarithms, and in "
    "double precision, nothing underflows.",
    done="G / (G + G'), for 4096 masks and outputs of 1e-300 too.",
)
def nwgm(outputs, probabilities, *, mean=weighted, changed=lambda o: o,
         of=lambda g, prime: g / (g + prime)):  # fmt: skip
    """Normalized weighted geometric mean."""
    o = changed(outputs)
    return of(mean(o, probabilities), mean(1 - o, probabilities))


# fmt: off
for idea, sentence, *means in MEANS:
    nwgm.wrong(idea, sentence, *varied("mean", *means))
wrong = nwgm.wrong
wrong("not-normalized", "This is G itself: the normalization is forgotten. G and G' add up to less "
      "than 1; divide by their sum, G / (G + G').", {"of": lambda g, prime: g})
wrong("prime-on-top", "This is G' / (G + G'): G belongs on top.",
      {"of": lambda g, prime: prime / (g + prime)}, {"of": lambda g, prime: prime})
wrong("odds", "This is G / G'. Divide by G + G', so that the two shares add up to 1.",
      {"of": lambda g, prime: g / prime}, {"of": lambda g, prime: prime / g})
wrong("one-for-prime", "This is G / (1 + G): G' is not 1.", {"of": lambda g, prime: g / (1 + g)})
wrong("arithmetic-prime", "G is divided by G plus the arithmetic mean: G' is the product of (1 - "
      "O_k) ** P_k.", lambda o, p: weighted(o, p) / (weighted(o, p) + p @ o),
      lambda o, p: weighted(o, p) / (weighted(o, p) + p @ (1 - o)))
wrong("mean-logit", "This is the mean of the logits, log(G / G'). The sigmoid of it is the "
      "normalized mean.", {"of": lambda g, prime: np.log(g / prime)}, lambda o, p: p @ logit(o))
wrong("sigmoid-of-output", "This is the sigmoid of the mean OUTPUT. It is the mean SUM whose "
      "sigmoid is the NWGM, and the sum is the logit of the output.", lambda o, p: sigmoid(p @ o))
wrong("arithmetic-mean", MEANS[0][1], lambda o, p: p @ o, lambda o, p: o.mean())
wrong("underflow", "With many masks it is NaN, or off. Products of many small numbers underflow to "
      "0, and 0/0 is NaN. Raise each output to its P_k before you multiply, or add logarithms.",
      {"mean": lambda v, p: np.prod(v ** (len(v) * p)) ** (1 / len(v))})
wrong("single-precision", "Outputs as small as 1e-300 are 0 in single precision, and their "
      "logarithm is lost: compute in double precision.",
      {"changed": lambda o: o.astype(np.float32)},
      *varied("mean", *(lambda v, p, f=f: f(np.float32(v), np.float32(p)) for f in (
         weighted, lambda v, p: np.prod(v**p)))))
wrong("clipped", "The smallest outputs seem to be clipped or left out, or something was added to "
      "them. A geometric mean needs them as they are: the logarithm of 1e-300 is a fine number, "
      "-691.",
      *(each for eps in (*10.0 ** -np.arange(2, 17), 2.0**-52, 1e-20, 1e-30, 1e-100) for each in (
         {"changed": lambda o, eps=eps: np.clip(o, eps, 1 - eps)},
         {"changed": lambda o, eps=eps: np.clip(o, eps, None)},
         {"changed": lambda o, eps=eps: np.clip(o + eps, eps, 1 - eps)},
         {"mean": lambda v, p, eps=eps: weighted(v + eps, p)})),
      *varied("of", *(lambda g, h, n=n: g / (g + h + 10.0**-n) for n in range(3, 13))))
# fmt: on


# A bound that is none


def row(value):
    """A student's list of numbers, or None."""
    try:
        values = np.asarray(value, dtype=float)
    except (TypeError, ValueError):
        return None
    return values if values.ndim == 1 and values.size else None


def counterexample_traits(run, data):
    pair = run(raw=True)
    several = isinstance(pair, list | tuple) or (isinstance(pair, np.ndarray) and pair.ndim > 0)
    if not several or len(pair) != 2:
        text = "The function must return two things: return outputs, probabilities."
        yield from found(True, "how-many", text)
        return
    o, p = map(row, pair)
    for name, values in (("outputs", o), ("probabilities", p)):
        text = f"{name} must be a list of numbers, or an array of shape (m,)."
        yield from found(values is None, "no-list", text)
        text = f"{name} has entries that are NaN or infinite."
        yield from found(values is not None and not np.isfinite(values).all(), "not-finite", text)
    if o is None or p is None or not (np.isfinite(o).all() and np.isfinite(p).all()):
        return
    text = f"There are {len(o)} outputs and {len(p)} probabilities: each output needs one."
    yield from found(len(o) != len(p), "lengths", text)
    text = f"A probability is {p.min():.4g}. Probabilities are not negative."
    yield from found((p < 0).any(), "negative-probability", text)
    text = "Are the two in the other order? Return the outputs first, then their probabilities."
    off = abs(p.sum() - 1) > 1e-6
    yield from found(off and abs(o.sum() - 1) < 1e-6 and (p < 1).all(), "swapped", text)
    text = f"The probabilities add up to {p.sum():.6g}, not to 1: some mask is always drawn."
    yield from found(off, "no-distribution", text)
    worst = o[np.abs(o - 0.5).argmax()]
    text = (f"An output is {worst:.6g}. A sigmoid stays strictly between 0 and 1; in floating "
            "point 1 - 1e-17 is 1 as well.")  # fmt: skip
    yield from found((o <= 0).any() or (o >= 1).any(), "outside-0-1", text)
    if len(o) == len(p) and (o > 0).all() and (o < 1).all():
        yield from exceeded(o, p / p.sum())


def exceeded(o, p):
    """Whether |E - NWGM| exceeds the estimate."""
    mean, geometric = p @ o, sigmoid(p @ logit(o))
    distance, estimate = abs(mean - geometric), 2 * mean * (1 - mean) * abs(1 - 2 * mean)
    numbers = f"|E - NWGM| is {distance:.4g} and 2E(1 - E)|1 - 2E| is {estimate:.4g}"
    text = ("All outputs that can happen are the same, so the arithmetic and the geometric mean "
            "are that very number. The masks must make a difference.")  # fmt: skip
    yield from found(np.ptp(o[p > 0]) <= 1e-9, "no-difference", text)
    text = ("E is 1/2 and the right side 0: well aimed. But the NWGM is 1/2 too, since outputs "
            "that lie evenly about 1/2 pull it both ways alike. Let them lie unevenly, with E = "
            "1/2.")  # fmt: skip
    skew = abs(p @ (o - mean) ** 3) / max(p @ (o - mean) ** 2, 1e-100) ** 1.5
    yield from found(skew < 1e-4 and abs(mean - 0.5) < 1e-9, "evenly", text)
    text = f"{numbers}: well aimed, but exceed it by more than 1e-6. Take outputs farther apart."
    yield from found(max(distance, estimate) < 1e-6, "by-too-little", text)
    text = (f"The estimate holds here: {numbers}, so {estimate - distance:.4g} is to spare. Where "
            "is the right side 0, whatever the outputs do?")  # fmt: skip
    yield from found(distance <= estimate, "holds", text)
    text = (f"{numbers}: that is exceeded by {distance - estimate:.1g} only, which may be "
            "rounding. Exceed it by more than 1e-6.")  # fmt: skip
    yield from found(distance <= estimate + 1e-6, "by-too-little", text)


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

    first, other = case(8, 1, 0.8), case(8, 0.3, 0.35)
    return [
        *(first, *(first | {name: other[name]} for name in first)),
        *(case(3, 0, 0.3), case(5, 1, 0.5), case(2, 0.3, 0.7), case(3, 1, 1.0), case(1, 0, 0.6)),
    ]


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
                     passed=lambda m, x, w: m * x, delta=lambda o, t: o - t, sign=1,
                     scale=lambda p, n: 1):  # fmt: skip
    """Mean gradient of the cross-entropy over all masks."""
    masks = all_masks(len(w))
    o = sigmoid(summed(masks, keep_prob) @ (w * x))
    chance = weigh(masks, keep_prob) * scale(keep_prob, len(masks))
    return sign * (chance * delta(o, t)) @ passed(masks, x, w)


def at_mean(w, x, t, keep_prob):
    return (sigmoid(keep_prob * x @ w) - t) * keep_prob * x


def with_decay(w, x, t, keep_prob):
    o = sigmoid(keep_prob * x @ w)
    return at_mean(w, x, t, keep_prob) + o * (1 - o) * keep_prob * (1 - keep_prob) * x**2 * w


def second_order(w, x, t, keep_prob):
    o, scatter = sigmoid(keep_prob * x @ w), keep_prob * (1 - keep_prob) * np.square(w * x).sum()
    return with_decay(w, x, t, keep_prob) + (o * (1 - o) * (0.5 - o) * scatter * keep_prob * x)


def of_mean_output(w, x, t, keep_prob):
    masks = all_masks(len(w))
    o, chance = sigmoid(masks @ (w * x)), mask_probabilities(masks, keep_prob)
    mean = chance @ o
    return (mean - t) / (mean * (1 - mean)) * ((chance * o * (1 - o)) @ masks * x)


def averaged_apart(w, x, t, keep_prob):
    masks = all_masks(len(w))
    return (mask_probabilities(masks, keep_prob) @ sigmoid(masks @ (w * x)) - t) * keep_prob * x


# fmt: off
wrong = dropout_gradient.wrong
wrong("at-the-mean", "This is the gradient of the ensemble, at the mean sum: one mask that holds "
      "keep_prob. The sigmoid bends, so take the gradient for each mask first, then its mean.",
      at_mean, lambda w, x, t, p: -at_mean(w, x, t, p), lambda w, x, t, p: at_mean(w, x, t, p) / p)
wrong("with-decay", "This is the ensemble's gradient and the weight decay: an approximation. The "
      "mean over all masks is asked for, exactly: list them.", with_decay, second_order)
wrong("loss-of-mean-output", "This is the gradient of the loss of the MEAN output. Under dropout "
      "each mask has a loss of its own: take the gradient of each, then the mean.", of_mean_output)
wrong("no-mask", "There is no mask: this is the gradient without dropout.",
      lambda w, x, t, p: at_mean(w, x, t, 1), lambda w, x, t, p: -at_mean(w, x, t, 1))
wrong("unmasked-derivative", "The mask is forgotten in the derivative. The sum is S = sum_i m_i "
      "w_i x_i, so dS/dw_i is m_i x_i: a weight whose input is dropped gets no gradient.",
      {"passed": lambda m, x, w: np.ones_like(m) * x})
wrong("unmasked-sum", "The mask is forgotten in the sum: output - t belongs to the masked sum, "
      "sum_i m_i w_i x_i.", {"summed": lambda m, p: np.ones_like(m)})
wrong("averaged-apart", "output - t and the mask are averaged apart, then multiplied. They go "
      "together: with input i kept the output is another than with it dropped. Multiply for each "
      "mask, then take the mean.", averaged_apart, lambda w, x, t, p: -averaged_apart(w, x, t, p))
wrong("equal-weights", "All masks count the same. Unless keep_prob is 1/2 they are not equally "
      "likely: weight each by its probability, keep_prob^kept * (1 - keep_prob)^dropped.",
      {"weigh": lambda m, p: np.full(len(m), 1 / len(m))})
wrong("no-probabilities", "The gradients of all masks are summed without their probabilities.",
      {"weigh": lambda m, p: np.ones(len(m))})
wrong("drop-for-keep", "The probabilities are those of dropping: did you take keep_prob for the "
      "probability to drop?",
      {"weigh": lambda m, p: p ** (1 - m).sum(axis=1) * (1 - p) ** m.sum(axis=1)})
wrong("no-distribution", "The probabilities of the masks do not add up to 1: it is keep_prob^kept "
      "* (1 - keep_prob)^dropped.",
      *varied("weigh", lambda m, p: p ** m.sum(1), lambda m, p: (1 - p) ** (1 - m).sum(1)),
      *varied("weigh", lambda m, p: m.mean(axis=1), lambda m, p: np.full(len(m), p)))
wrong("averaged-again", "Weighted by their probabilities the gradients are summed, not averaged "
      "once more.", {"scale": lambda p, n: 1 / n})
wrong("squared-error", "There is a factor sigma'(S) = O (1 - O), as with the squared error. With "
      "cross-entropy it cancels, and the derivative by the sum is O - t.",
      *({"delta": lambda o, t, n=n: n * (o - t) * o * (1 - o)} for n in (1, 2)))
wrong("half-of-the-loss", "Half of the loss is missing: -t log O gives t (O - 1), and -(1 - t) "
      "log(1 - O) gives (1 - t) O. Together they are O - t.", {"delta": lambda o, t: t * (o - 1)},
      {"delta": lambda o, t: (1 - t) * o})
wrong("by-the-output", "This is the derivative by the output O: the sigmoid's, O (1 - O), is "
      "missing. With it, all that is left is O - t.",
      {"delta": lambda o, t: (o - t) / (o * (1 - o))}, {"delta": lambda o, t: -t / o},
      {"delta": lambda o, t: -t / o + (1 - t) / (1 - o)})
wrong("no-target", "The target is missing: the derivative of the loss by the sum is O - t.",
      {"delta": lambda o, t: o})
wrong("target-flipped", "This is the gradient for the target 1 - t.",
      {"delta": lambda o, t: o - (1 - t)})
wrong("thresholded", "The output is made 0 or 1 before the target is taken off: O is the sigmoid.",
      {"delta": lambda o, t: (o > 0.5) - t}, {"delta": lambda o, t: np.sign(o - t)})
wrong("no-inputs", "The inputs are missing: the derivative of the sum by w_i is m_i x_i.",
      {"passed": lambda m, x, w: m})
wrong("input-squared", "The input is in it twice: the derivative of the sum by w_i is m_i x_i.",
      {"passed": lambda m, x, w: m * x**2})
wrong("dropped-inputs", "A weight gets its gradient from the masks that KEEP its input: the "
      "derivative of the sum by w_i is m_i x_i.", {"passed": lambda m, x, w: (1 - m) * x})
wrong("weight-for-input", "The derivative of the sum by w_i is m_i x_i, not m_i w_i.",
      {"passed": lambda m, x, w: m * w}, {"passed": lambda m, x, w: m * w * x})
wrong("inverted", "The masks are scaled by 1/keep_prob. In this exercise they hold zeros and ones.",
      {"summed": lambda m, p: m / p, "scale": lambda p, n: 1 / p}, {"summed": lambda m, p: m / p})
wrong("given-kept", "The mean is divided by keep_prob, as if input i were always kept. Masks that "
      "drop it count too: their gradient is 0.", {"scale": lambda p, n: 1 / p})
wrong("sign", "The sign is turned round: with cross-entropy the derivative by the sum is O - t.",
      {"sign": -1})
# fmt: on


# Where is the decay largest?


def factor_cases(data):
    keep_probs = (0.85, 0.3, 0.55, 1.0, *data.uniform(0.05, 0.95, 2).round(2).tolist())
    return [{"keep_prob": p, "scaling": s} for p in keep_probs for s in ("weight", "inverted")]


@exercise(
    returns=Number("The factor"),
    cases=factor_cases,
    otherwise="The variance of a mask is the mean of its square less the square of its mean.",
    done="the variance of the mask, for both scalings.",
)
def weight_decay_factor(keep_prob, scaling, *, plain=lambda p: p * (1 - p),
                        inverted=lambda p: (1 - p) / p):  # fmt: skip
    """Variance of the mask, without a scale or divided by keep_prob."""
    return (plain if scaling == "weight" else inverted)(keep_prob)


weight_decay_factor.wrong(
    "swapped",
    'The two are swapped: with scaling="inverted" the mask is divided by keep_prob, and its '
    "variance by keep_prob squared.",
    {"plain": lambda p: (1 - p) / p, "inverted": lambda p: p * (1 - p)},
)
PLAIN = (  # what is taken for the variance p (1 - p) of zeros and ones
    ("of-inverted", "(1 - keep_prob) / keep_prob, the variance of a mask scaled by 1/keep_prob. "
     "Zeros and ones have keep_prob (1 - keep_prob).", lambda p: (1 - p) / p),
    ("mean-square", "keep_prob, which is the mean square of zeros and ones. Their variance is "
     "less, by the square of the mean: keep_prob - keep_prob^2.", lambda p: p),
    ("drop-probability", "1 - keep_prob, the probability to drop. The variance of zeros and ones "
     "is keep_prob (1 - keep_prob).", lambda p: 1 - p),
    ("root", "the standard deviation. The factor is the variance, without a root.",
     lambda p: math.sqrt(p * (1 - p))),
    ("squared", "squared once too often: keep_prob (1 - keep_prob) is a variance already.",
     lambda p: (p * (1 - p)) ** 2),
    ("square-of-mean", "keep_prob squared, the square of the mean. The variance is what is left.",
     lambda p: p**2),
    ("square-of-drop", "the square of 1 - keep_prob: one factor is keep_prob.",
     lambda p: (1 - p) ** 2),
    ("times-keep-prob", "multiplied by keep_prob once too often.", lambda p: p**2 * (1 - p)),
    ("times-drop", "multiplied by 1 - keep_prob once too often.", lambda p: p * (1 - p) ** 2),
    ("doubled", "twice too large: there is no factor 2.", lambda p: 2 * p * (1 - p)),
    ("halved", "half of what it must be: there is no factor 1/2.", lambda p: p * (1 - p) / 2),
    ("ratio", "keep_prob / (1 - keep_prob). Take the product of the two, not their ratio.",
     lambda p: p / (1 - p)),
    ("always-half", "that of keep_prob=1/2, whatever keep_prob is: take keep_prob "
     "(1 - keep_prob).", lambda p: 0.25),
)  # fmt: skip
for idea, why, of in PLAIN:
    safe = lambda p, of=of: of(p) if p < 1 else 0.0  # noqa: E731
    sentence = f"With scaling={{scaling}} the factor is {why}"
    weight_decay_factor.wrong(f"plain-{idea}", sentence, *varied("plain", of, safe))
for idea, formula, of, why in VARIANCES:
    safe = lambda p, of=of: of(p) if p < 1 else 0.0  # noqa: E731
    sentence = f"With scaling={{scaling}} the factor is {formula}, {why}"
    weight_decay_factor.wrong(f"inverted-{idea}", sentence, *varied("inverted", of, safe))
weight_decay_factor.wrong(
    "inverted-multiplied",
    "With scaling={scaling} the mask is DIVIDED by keep_prob, so its variance is divided by "
    "keep_prob squared, not multiplied.",
    *varied("inverted", lambda p: p * (1 - p) * p**2, lambda p: p * (1 - p) * p),
)
weight_decay_factor.wrong(
    "inverted-squared",
    "With scaling={scaling} the factor is squared, or a standard deviation is taken for it: it is "
    "(1 - keep_prob) / keep_prob, a variance already.",
    *varied("inverted", lambda p: ((1 - p) / p) ** 2, lambda p: (1 - p) ** 2 / p),
)
