"""Checks of the exercises on the idea of dropout."""

import math

import numpy as np
from scipy import stats
from scipy.special import expit as sigmoid
from scipy.special import softmax

from lib.checks.engine import Array, Number, exercise, found, summary_of, varied
from lib.checks.traits import coins, first, fresh, layer

summary = summary_of("idea")

ONE_ROW = "One row per example, one column per unit."


def mask_traits(run, data):
    for keep_prob, n_examples, n_units in ((0.8, 400, 50), (0.3, 60, 120), (0.3, 1000, 4)):
        size, rng = {"n_examples": n_examples, "n_units": n_units}, np.random.default_rng(data)
        masks = np.array([run(**size, keep_prob=keep_prob, rng=rng) for _ in range(20)])
        values = np.unique(masks)
        # fmt: off
        yield from first(
            (not np.isin(values, (0, 1)).all(), "factor-in-mask",
             f"A mask holds only 0 and 1, yours holds {values[:3].round(3).tolist()}. keep_prob "
             "says how often a unit is kept; no factor goes into the mask in this exercise."),
            coins(masks == 1, keep_prob, ("call", "example", "unit")))
        # fmt: on
    yield from fresh(lambda rng: run(n_examples=4, n_units=50, keep_prob=0.8, rng=rng))
    all_kept = run(n_examples=3, n_units=4, keep_prob=1.0).all()
    yield from found(not all_kept, "keep-prob-1", "With keep_prob=1 every unit is kept.")


@exercise(
    returns=Array("The mask", lambda n_examples, n_units: (n_examples, n_units), ONE_ROW),
    traits=mask_traits,
    done="0 and 1, one mask for each example, fresh at each call.",
)
def batch_mask(n_examples, n_units, keep_prob, rng):
    """Zeros and ones, one row per example, each 1 with probability `keep_prob`."""
    return rng.random((n_examples, n_units)) < keep_prob


batch_mask.wrong(
    "fixed-number",
    "Every example, or every mask, has exactly the same number of ones. Entries are independent "
    "of each other, so that number is left to chance.",
    lambda n, m, p, rng: rng.permuted(np.tile(np.arange(m) < round(p * m), (n, 1)), axis=1),
    lambda n, m, p, rng: rng.permutation(np.arange(n * m) < round(p * n * m)).reshape(n, m),
)


# A layer

# fmt: off
IN_TRAINING = (
    "wrong-phase", "You multiply by keep_prob in training, where the mask has already lowered the "
    "mean. Only prediction needs the factor.")
INVERTED = (
    "inverted", "You divide by keep_prob in training, as inverted dropout does: a right rule, and "
    "the next part's. Here the mask alone acts in training, and the factor comes at prediction.")
LAYER_RULE = {  # from the factors in training and at prediction
    ("1/keep_prob", "1"): INVERTED, ("1/keep_prob", "keep_prob"): INVERTED,
    ("keep_prob", "1"): IN_TRAINING, ("keep_prob", "keep_prob"): IN_TRAINING,
    ("1", "1"): (
        "no-scale", "At prediction all units are on, so the next layer gets 1/keep_prob times what "
        "it was trained with. Multiply the activations by keep_prob there."),
    ("1", "1 - keep_prob"): (
        "drop-for-keep-at-prediction", "At prediction you multiply by 1 - keep_prob: did you take "
        "keep_prob for the probability to drop?"),
}
# fmt: on


def layer_traits(run, data):
    others = np.tanh, lambda z: np.maximum(z, 0), lambda z: softmax(z, axis=-1), lambda z: z
    for keep_prob, n_units in ((0.8, 40), (0.3, 60)):
        x, weights = data.normal(size=(200, 4)), data.normal(size=(n_units, 4))
        bias = data.normal(size=n_units)
        given = {"x": x, "weights": weights, "bias": bias, "keep_prob": keep_prob}
        z, plus = x @ weights.T - bias, x @ weights.T + bias
        train, test = run(phase="train", **given), run(phase="test", **given)

        def is_(values, output=test, ratios=(1, keep_prob, 1 / keep_prob)):
            return any(np.allclose(output, ratio * values, 1e-4, 1e-6) for ratio in ratios)

        # fmt: off
        yield from first(
            (is_(sigmoid(plus)), "bias-sign",
             "The bias has the wrong sign: the slides' layer is g(Wx - b)."),
            (any(is_(g(z)) for g in others), "other-activation",
             "The nonlinearity is missing, or another one: apply sigmoid to Wx - b."),
            (np.allclose(test, sigmoid(keep_prob * z), rtol=1e-4), "factor-inside",
             "The factor is inside the nonlinearity. Scale the activation, keep_prob * g(Wx - b): "
             "it is the activation that the mask multiplies."),
            ((np.abs(train - 0.5) < 1e-12).mean() > 0.05, "mask-inside",
             "Dropped units say 0.5, that is g(0): the mask is inside the nonlinearity. Multiply "
             "the activation, m * g(Wx - b), so that a dropped unit says nothing."),
            (train.all() and not is_(sigmoid(z), train), "masked-before",
             "No unit says 0 in training: the mask is on the weights or on the inputs. This layer "
             "masks its own units: multiply the activations, m * g(Wx - b)."),
            layer(lambda phase, rng, given=given: run(phase=phase, rng=rng, **given),
                  sigmoid(z), keep_prob, ("1", "keep_prob"), LAYER_RULE))
        # fmt: on


@exercise(
    returns=Array("The output", lambda x, weights: (len(x), len(weights)), ONE_ROW),
    traits=layer_traits,
    done="masked in training, whole and scaled at prediction.",
)
def dropout_layer(x, weights, bias, keep_prob, phase, rng):
    """y = m * g(Wx - b) in training, keep_prob * g(Wx - b) at prediction."""
    h = sigmoid(x @ weights.T - bias)
    return h * (rng.random(h.shape) < keep_prob) if phase == "train" else keep_prob * h


# Gradients


def gradient_cases(data):
    cases = []
    for n, n_inputs, n_units in ((6, 3, 5), (4, 5, 2), (1, 2, 3)):
        mask = (data.random((n, n_units)) < 0.5).astype(float)
        mask[:, -1], mask[0, 0] = 0, 1  # a unit that no example kept, and one that is kept
        shapes = {"grad_y": (n, n_units), "x": (n, n_inputs), "weights": (n_units, n_inputs),
                  "bias": n_units}  # fmt: skip
        given = {name: data.normal(size=shape) for name, shape in shapes.items()}
        cases.append(given | {"grad_y": 5 * given["grad_y"], "mask": mask})
    return cases


@exercise(
    returns=(
        Array("grad_x", lambda x: x.shape, "A gradient has the shape of its x."),
        Array("grad_weights", lambda weights: weights.shape, "It has the shape of the weights."),
        Array("grad_bias", lambda bias: bias.shape, "It has the shape of the bias."),
    ),
    cases=gradient_cases,
    otherwise="Follow the chain rule from the output: grad_y, times mask, times h * (1 - h), then "
    "through Wx - b.",
    chance="Two calls with one mask gave different gradients: is a new mask drawn in the backward "
    "pass? It must be the very mask of the forward pass.",
    done="right, and masked as forward.",
)
def layer_gradients(grad_y, x, weights, bias, mask, *, slope=lambda h: h * (1 - h), m=lambda m: m,
                    sign=-1, g=sigmoid, bias_sign=-1):  # fmt: skip
    """Gradients of the loss with respect to x, weights and bias."""
    grad_z = grad_y * m(mask) * slope(g(x @ weights.T + bias_sign * bias))
    return grad_z @ weights, grad_z.T @ x, sign * grad_z.sum(axis=0)


# fmt: off
wrong = layer_gradients.wrong
wrong("not-masked", "{what} is not masked: nothing flows back through a unit that was dropped. "
      "Multiply grad_y by the mask of the forward pass.", {"m": lambda m: 1})
wrong("derivative", "{what} lacks the derivative of the sigmoid, or has another: with h = "
      "sigmoid(z) it is h * (1 - h).", {"g": lambda z: z},
      {"g": np.tanh, "slope": lambda h: 1 - h**2},
      *varied("slope", lambda h: 1, lambda h: h, lambda h: 1 - h**2, lambda h: h > 0.5))
wrong("one-mask-for-all", "{what} takes one row of the mask for all examples. Each example has "
      "its own.", *varied("m", lambda m: m[:1], lambda m: m.mean(axis=0)))
wrong("rescaled", "{what} divides by the share that was kept. Forward nothing was divided, so "
      "nothing is here.", *varied("m", lambda m: m / m.mean(), lambda m: 2 * m))
wrong("bias-added", "The bias is added, in the forward pass or in its gradient. z = Wx - b: its "
      "gradient has a minus sign.", {"sign": 1}, {"bias_sign": 1})
wrong("drop-for-keep", "{what} is masked where units were kept: multiply by the mask, not by 1 - "
      "mask.", {"m": lambda m: 1 - m})
# fmt: on


# How long it takes


def steps_cases(data):
    pairs = [(0.5, 0.95), (0.5, 0.9), (0.9, 0.95), (0.2, 0.95), (0.7, 0.999), (1.0, 0.95),
             (0.5, 0.75), (0.01, 0.95), (0.8, 0.75), (0.99, 0.5)]  # fmt: skip
    pairs += [(float(p), 0.987) for p in data.uniform(0.03, 0.97, 4).round(2)]
    return [{"keep_prob": p, "confidence": c} for p, c in pairs]


@exercise(
    returns=Number("The number of steps", whole=True),
    cases=steps_cases,
    otherwise="Dropped n times in a row has probability (1 - keep_prob)^n; look for the smallest n "
    "for which that is at most 1 - confidence.",
    done="the smallest number, for all settings.",
)
def steps_needed(keep_prob, confidence):
    """The smallest number of steps after which a unit took part with that probability."""
    n = 1
    while (1 - keep_prob) ** n > (1 - confidence) * (1 + 1e-9):
        n += 1
    return n


def logs(keep_prob, confidence):
    """The number before rounding."""
    dropped = 1 - keep_prob
    return math.log(1 - confidence) / math.log(dropped) if 0 < dropped < 1 else 1


STEPS = "For keep_prob={keep_prob} and confidence={confidence} you answer {yours}"
# fmt: off
wrong = steps_needed.wrong
wrong("drop-for-keep", STEPS + ", where {right} would do: did you take keep_prob for the "
      "probability to drop? A unit misses a step with probability 1 - keep_prob.",
      lambda p, c: math.ceil(logs(1 - p, c) - 1e-9))
wrong("rounded-down", STEPS + ", but so few steps do not reach that probability. Is it rounded "
      "down, or to the nearest? Round up.",
      *(lambda p, c, f=f, least=least: max(least, f(logs(p, c)))
        for f in (math.floor, round) for least in (0, 1)))
wrong("one-too-many", STEPS + ", but one step fewer reaches it already. Look for the smallest "
      "number.", lambda p, c: steps_needed.right(p, c) + 1)
wrong("more-than", STEPS + ", but {right} reaches it exactly, and that is enough: the probability "
      "must be confidence or more.", lambda p, c: math.floor(logs(p, c)) + 1,
      lambda p, c: math.floor(logs(p, c)) + 1 if p < 1 else 1)
wrong("expected-wait", STEPS + ". 1/keep_prob is how long one waits on average. Dropped n times in "
      "a row has probability (1 - keep_prob)^n: that must be small enough.",
      lambda p, c: math.ceil(1 / p), lambda p, c: math.ceil(c / p))
wrong("log-of-confidence", STEPS + ", right is {right}. (1 - keep_prob)^n must be at most 1 - "
      "confidence: take the logarithm of that, not of confidence.",
      lambda p, c: max(1, math.ceil(logs(p, 1 - c))))
# fmt: on


# Two settings, seed by seed


def comparison_cases(data):
    cases = []
    for n, shift in ((5, -0.4), (8, 0.7), (6, 0.3)):
        baseline = 6 + 2 * data.normal(size=n)  # some seeds are harder, for both
        ours = baseline + shift + 0.5 * data.normal(size=n)
        ours[1] = baseline[1]  # a tie
        cases.append({"ours": ours, "baseline": baseline})
    baseline = data.normal(size=7)  # the larger camp has the other sign than the mean
    cases.append({"ours": baseline + [-9, 1, 1, 1.5, 0.5, -4, 1], "baseline": baseline})
    return cases


@exercise(
    returns=(Number("The mean", "mean"), Number("The lower end", "low"),
             Number("The upper end", "high"), Number("The number of seeds that agree", "n_agree")),
    cases=comparison_cases,
    otherwise="With d = ours - baseline the interval is d.mean() -+ t * d.std(ddof=1) / sqrt(n), "
    "and a seed agrees if its d has the sign of the mean; 0 has none.",
    done="paired, Student's t, agreeing seeds counted.",
)  # fmt: skip
def paired_comparison(ours, baseline, *, spread=lambda a, b: (a - b).std(ddof=1) / len(a) ** 0.5,
                      level=0.975, t=lambda level, a, b: stats.t.ppf(level, len(a) - 1),
                      agree=lambda d: (np.sign(d) == np.sign(d.mean())).sum()):  # fmt: skip
    """Mean, ends of the 95 % interval, and how many seeds have the sign of the mean."""
    d = ours - baseline
    half = t(level, ours, baseline) * spread(ours, baseline)
    return d.mean(), d.mean() - half, d.mean() + half, agree(d)


# fmt: off
wrong = paired_comparison.wrong
wrong("unpaired", "The interval is unpaired: it adds the spread of ours to that of baseline. Both "
      "ran with the same seeds, so what a seed makes hard is in both: take the differences first.",
      {"spread": lambda a, b: np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))})
wrong("spread-of-seeds", "The standard deviation is that of single seeds. The interval is that of "
      "their mean: divide by the ROOT of n.",
      *varied("spread", lambda a, b: (a - b).std(ddof=1),
              lambda a, b: (a - b).std(ddof=1) / len(a)))
wrong("normal", "1.96 belongs to a known spread. Yours is estimated from few seeds: take "
      "Student's t with n - 1 degrees of freedom.",
      *varied("t", lambda level, a, b: 1.96, lambda level, a, b: stats.norm.ppf(level)))
wrong("degrees-of-freedom", "Student's t has n - 1 degrees of freedom: one is spent on the mean.",
      *varied("t", *(lambda level, a, b, of=of: stats.t.ppf(level, of(len(a)))
                     for of in (lambda n: n, lambda n: 2 * n - 2))))
wrong("ddof", "The standard deviation divides by n. From a sample take n - 1: std(ddof=1).",
      {"spread": lambda a, b: (a - b).std() / len(a) ** 0.5})
wrong("one-sided", "The interval leaves out 5 % on each side. For 95 % leave out 2.5 %: the 0.975 "
      "quantile.", {"level": 0.95})
wrong("not-symmetric", "This interval is made of quantiles of the seeds. With so few seeds take "
      "the mean and t * s / sqrt(n) to both sides.",
      lambda a, b: (np.mean(d := a - b), *np.quantile(d, [0.025, 0.975]), (d * d.mean() > 0).sum()))
wrong("tie-counted", "A seed with a difference of 0 has no sign: it does not agree.",
      *varied("agree", lambda d: (d * d.mean() >= 0).sum(),
              lambda d: ((d > 0) == (d.mean() > 0)).sum()))
wrong("sign-fixed", "Which sign agrees depends on the sign of the mean. You count {yours}, right "
      "is {right}.",
      *varied("agree", lambda d: (d < 0).sum(), lambda d: (d > 0).sum(),
              lambda d: max((d > 0).sum(), (d < 0).sum())))
# fmt: on


# The learning rate


def rate_cases(data):
    """Losses at random: each way to choose has a winner of its own."""
    shapes = [(4, 3, 9), *[(3, 5, 8)] * 12, *[(6, 2, 4)] * 8]
    return [{"rates": np.sort(10 ** data.uniform(-3, 0, shape[0])).round(5),
             "val_loss": data.uniform(0.2, 2, shape)} for shape in shapes]  # fmt: skip


@exercise(
    returns=(Number("The rate", "rate"), Number("Whether it is at the edge", "at_edge")),
    cases=rate_cases,
    otherwise="Each seed's lowest loss over the epochs, the mean of these over the seeds, and the "
    "rate for which that is lowest.",
    done="the lowest mean over seeds, each at its best epoch; the edge is reported.",
)
def choose_rate(rates, val_loss, *, over_epochs=lambda x: x.min(axis=-1), over_seeds=np.mean,
                pick=np.argmin, edge=lambda best, n: best in (0, n - 1)):  # fmt: skip
    """The best rate by validation loss, and whether it is at the edge of the grid."""
    score = over_seeds(over_epochs(val_loss), axis=-1)
    best = int(pick(score))
    return rates[best], edge(best, len(rates))


# fmt: off
wrong = choose_rate.wrong
wrong("lucky-seed", "One seed decides, the luckiest or the worst. That says little: take the mean "
      "over the seeds, then compare rates.", *varied("over_seeds", np.min, np.max))
wrong("best-epoch", "The loss after the first or the last epoch decides, or the mean over all. A "
      "network is used as it was at its best epoch: take each seed's lowest loss.",
      *varied("over_epochs", lambda x: x[..., 0], lambda x: x[..., -1], lambda x: x.mean(axis=-1)))
wrong("highest", "A loss is better when it is LOWER.", {"pick": np.argmax})
wrong("index", "You return the place of the rate in the grid. Return the rate itself, rates[best].",
      lambda rates, v: choose_rate.right(np.arange(len(rates)), v))
wrong("edge", "The first and the last rate of the grid are its edges, and no other: there a "
      "better rate may lie beyond. Say True for these two alone.",
      *varied("edge", lambda best, n: False, lambda best, n: True, lambda best, n: best == n - 1,
              lambda best, n: best == 0, lambda best, n: best not in (0, n - 1)))
# fmt: on


# Your own check


def masked(h, keep_prob, phase, rng):
    """The layer of the slides: a mask in training, the factor at prediction."""
    return h * (rng.random(h.shape) < keep_prob) if phase == "train" else keep_prob * h


def masked_by_loops(h, keep_prob, phase, rng):
    if phase == "test":
        return np.multiply(h, keep_prob)
    return np.array([[each * rng.binomial(1, keep_prob) for each in row] for row in h])


def of(train, test=lambda h, keep_prob, rng: keep_prob * h):
    """A layer from what it does in each phase."""
    return lambda h, keep_prob, phase, rng: (train if phase == "train" else test)(h, keep_prob, rng)


def kept(h, keep_prob, rng):
    return masked(h, keep_prob, "train", rng)


# fmt: off
LAYERS = (  # wrong ones, and what is wrong with each
    ("mask-at-prediction", "still has its mask on at prediction", of(kept, kept)),
    ("no-factor", "forgets the factor keep_prob at prediction", of(kept, lambda h, p, rng: h)),
    ("drop-for-keep", "drops with keep_prob", of(lambda h, p, rng: kept(h, 1 - p, rng))),
    ("shared-mask", "has one mask for the whole batch",
     of(lambda h, p, rng: h * (rng.random(h.shape[1]) < p))),
    ("seeded", "draws the same mask in every call",
     of(lambda h, p, rng: kept(h, p, np.random.default_rng(0)))),
    ("scaled-in-training", "scales in both phases", of(lambda h, p, rng: kept(h, p, rng) / p)),
    ("whole-examples", "drops whole examples: all units of one, or none",
     of(lambda h, p, rng: h * (rng.random((len(h), 1)) < p))),
    ("noise", "has the right mean and variance, but drops nothing: its factors are Gaussian",
     of(lambda h, p, rng: h * rng.normal(p, (p * (1 - p)) ** 0.5, h.shape))),
    ("no-mask", "never drops a unit", of(lambda h, p, rng: p * h)),
)
# fmt: on


def judge_traits(run, data):
    for layer_, name in ((masked, "arrays"), (masked_by_loops, "loops")):
        accepted = [run(layer=layer_) for _ in range(5)]
        yield from found(
            not any(accepted), f"rejects-{name}",
            "Your check rejects a right layer, every time. What is kept stays as it is, the factor "
            "comes at prediction, and a right layer may draw in any order, and return any array.",
        )  # fmt: skip
        yield from found(
            any(accepted) and not all(accepted), f"rejects-{name}-at-times",
            "Your check rejects a right layer at times. Chance must not decide: a share kept among "
            "n entries varies by about sqrt(p (1 - p) / n); leave room for six times that, or take "
            "more entries.",
        )  # fmt: skip
    for name, what, layer_ in LAYERS:
        text = f"Your check accepts a layer that {what}."
        yield from found(run(layer=layer_), f"accepts-{name}", text)


@exercise(
    returns=Number("The verdict, True or False,"),
    traits=judge_traits,
    done="two right layers accepted, nine wrong ones rejected.",
)
def is_dropout(layer):
    """Whether ``layer(h, keep_prob, phase, rng)`` is dropout as in the slides."""
    rng, h, p = np.random.default_rng(), np.arange(1.0, 21) * np.ones((500, 1)), 0.8
    one, two, test = layer(h, p, "train", rng), layer(h, p, "train", rng), layer(h, p, "test", rng)
    mask = one != 0
    fresh_ = not np.array_equal(one, two)
    whole = np.array_equal(one, h * mask) and np.allclose(test, p * h)
    share = abs(mask.mean() - p) < 0.03
    apart = not (mask == mask[0]).all() and not (mask == mask[:, :1]).all()
    return fresh_ and whole and share and apart
