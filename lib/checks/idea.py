"""Checks of the exercises on the idea of dropout."""

import math

import numpy as np
from scipy import stats
from scipy.special import expit as sigmoid
from scipy.special import softmax

from lib.checks.engine import Array, Number, exercise, found, summary_of
from lib.checks.traits import coins, fresh, layer

summary = summary_of("idea")

OTHER_ACTIVATIONS = (
    np.tanh,
    lambda z: np.maximum(z, 0),
    lambda z: softmax(z, axis=-1),
    lambda z: z,
)


def mask_traits(run, data):
    for keep_prob, n_examples, n_units in ((0.8, 400, 50), (0.3, 60, 120), (0.3, 1000, 4)):
        size, rng = {"n_examples": n_examples, "n_units": n_units}, np.random.default_rng(data)
        masks = np.array([run(**size, keep_prob=keep_prob, rng=rng) for _ in range(20)])
        values = np.unique(masks)
        if not np.isin(values, (0, 1)).all():
            yield from found(
                True, "factor-in-mask",
                f"A mask holds only 0 and 1, yours holds {values[:3].round(3).tolist()}. keep_prob "
                "says how often a unit is kept; no factor goes into the mask in this exercise.",
            )  # fmt: skip
            return
        yield from coins(masks == 1, keep_prob, ("call", "example", "unit"))
    yield from fresh(lambda rng: run(n_examples=4, n_units=50, keep_prob=0.8, rng=rng))
    all_kept = run(n_examples=3, n_units=4, keep_prob=1.0).all()
    yield from found(not all_kept, "keep-prob-1", "With keep_prob=1 every unit is kept.")


@exercise(
    returns=Array(
        "The mask",
        lambda n_examples, n_units: (n_examples, n_units),
        "One row per example: one mask for the whole batch is not enough.",
    ),
    traits=mask_traits,
    done="0 and 1, one mask for each example, fresh at each call.",
)
def batch_mask(n_examples, n_units, keep_prob, rng):
    """Zeros and ones, one row per example, each 1 with probability `keep_prob`."""
    return rng.random((n_examples, n_units)) < keep_prob


def permuted(n_examples, n_units, keep_prob, rng):
    row = np.arange(n_units) < round(keep_prob * n_units)
    return np.array([rng.permutation(row) for _ in range(n_examples)])


# fmt: off
wrong = batch_mask.wrong
wrong("fixed-number", "Every example kept exactly the same number of units. Units are dropped "
      "independently of each other, so the number varies from example to example.", permuted)
wrong("fixed-number-in-all", "Every mask has exactly the same number of ones in all. Entries are "
      "independent of each other, so that number is left to chance.",
      lambda n, m, p, rng: rng.permutation(np.arange(n * m) < round(p * n * m)).reshape(n, m))
# fmt: on


@batch_mask.wrong(
    "never-empty",
    "An example that lost all of its units gets one back. Entries are independent: a row of zeros "
    "may happen.",
)
def never_empty(n_examples, n_units, keep_prob, rng):
    mask = rng.random((n_examples, n_units)) < keep_prob
    mask[~mask.any(axis=1), 0] = True
    return mask


# A layer

LAYER_RULE = {
    ("1/keep_prob", "1"): (
        "inverted",
        "This is inverted dropout: a right rule, and the next part's. Here the mask alone acts in "
        "training, and the factor keep_prob comes at prediction.",
    ),
    ("1/keep_prob", "keep_prob"): (
        "scaled-twice",
        "The scale is there twice: you divide by keep_prob in training and multiply by it at "
        "prediction. One of the two is enough; here, the one at prediction.",
    ),
    ("keep_prob", "1"): (
        "wrong-phase",
        "The scale is in the wrong phase: you multiply by keep_prob in training, where the mask "
        "has already lowered the mean. It belongs to prediction.",
    ),
    ("keep_prob", "keep_prob"): (
        "both-phases",
        "The scale is in both phases. In training the mask has already lowered the mean to "
        "keep_prob times the activation; only prediction needs the factor.",
    ),
    ("1", "1"): (
        "no-scale",
        "At prediction all units are on, so the next layer gets 1/keep_prob times what it was "
        "trained with. Multiply the activations by keep_prob there.",
    ),
    ("1", "1/keep_prob"): (
        "divided-at-prediction",
        "At prediction you divide by keep_prob. More units are on than in training, so activations "
        "must shrink: multiply by keep_prob.",
    ),
    ("1", "1 - keep_prob"): (
        "drop-for-keep-at-prediction",
        "At prediction you multiply by 1 - keep_prob: did you take keep_prob for the probability "
        "to drop?",
    ),
}  # fmt: skip


def layer_traits(run, data):
    for keep_prob, n_units in ((0.8, 40), (0.3, 60)):
        x, weights = data.normal(size=(200, 4)), data.normal(size=(n_units, 4))
        bias = data.normal(size=n_units)
        given = {"x": x, "weights": weights, "bias": bias, "keep_prob": keep_prob}
        z, plus = x @ weights.T - bias, x @ weights.T + bias
        train, test = run(phase="train", **given), run(phase="test", **given)
        ratios = {"1": 1, "keep_prob": keep_prob, "1/keep_prob": 1 / keep_prob}.values()

        def is_(values, output=test, ratios=ratios):
            return any(np.allclose(output, ratio * values, 1e-4, 1e-6) for ratio in ratios)

        off = [
            *found(is_(sigmoid(plus)), "bias-sign",
                   "The bias has the wrong sign: the slides' layer is g(Wx - b)."),
            *found(is_(z), "no-nonlinearity",
                   "The nonlinearity is missing: apply sigmoid to Wx - b."),
            *found(any(is_(g(z)) for g in OTHER_ACTIVATIONS[:-1]), "other-activation",
                   "The activation is another one: this exercise has the logistic sigmoid."),
            *found(np.allclose(test, sigmoid(keep_prob * z), rtol=1e-4), "factor-inside",
                   "The factor is inside the nonlinearity. Scale the activation, keep_prob * "
                   "g(Wx - b): it is the activation that the mask multiplies."),
            *found((np.abs(train - 0.5) < 1e-12).mean() > 0.05, "mask-inside",
                   "Dropped units say 0.5, that is g(0): the mask is inside the nonlinearity. "
                   "Multiply the activation, m * g(Wx - b), so that a dropped unit says nothing."),
            *found(train.all() and not is_(sigmoid(z), train), "masked-before",
                   "No unit says 0 in training: the mask is on the weights or on the inputs. This "
                   "layer masks its own units: multiply the activations, m * g(Wx - b)."),
        ]  # fmt: skip
        if off:
            yield from off
            return
        yield from layer(lambda phase, rng, given=given: run(phase=phase, rng=rng, **given),
                         sigmoid(z), keep_prob, ("1", "keep_prob"), LAYER_RULE)  # fmt: skip


@exercise(
    returns=Array(
        "The output",
        lambda x, weights: (len(x), len(weights)),
        "One row per example, one column per unit.",
    ),
    traits=layer_traits,
    done="masked in training, whole and scaled at prediction.",
)
def dropout_layer(
    x, weights, bias, keep_prob, phase, rng, *, g=sigmoid, sign=-1, train=1, test=None
):
    """y = m * g(Wx - b) in training, keep_prob * g(Wx - b) at prediction."""
    h = g(x @ weights.T + sign * bias)
    if phase == "train":
        return (rng.random(h.shape) < keep_prob) * h * (keep_prob**train if train != 1 else 1)
    return (keep_prob if test is None else keep_prob**test) * h


# Gradients


def gradient_cases(data):
    sizes = ((6, 3, 5), (4, 5, 2), (1, 2, 3))
    cases = []
    for n, n_inputs, n_units in sizes:
        mask = (data.random((n, n_units)) < 0.5).astype(float)
        mask[:, -1], mask[0, 0] = 0, 1  # a unit that no example kept, and one that is kept
        shapes = {"grad_y": (n, n_units), "x": (n, n_inputs), "weights": (n_units, n_inputs),
                  "bias": n_units}  # fmt: skip
        cases.append(
            {name: data.normal(size=shape) for name, shape in shapes.items()} | {"mask": mask}
        )
    return cases


@exercise(
    returns=(
        Array("grad_x", lambda x: x.shape, "A gradient has the shape of its x."),
        Array(
            "grad_weights",
            lambda weights: weights.shape,
            "A gradient has the shape of its weights.",
        ),
        Array("grad_bias", lambda bias: bias.shape, "A gradient has the shape of its bias."),
    ),
    cases=gradient_cases,
    otherwise="Follow the chain rule from the output: grad_y, times mask, times h * (1 - h), then "
    "through Wx - b.",
    chance="Two calls with one mask gave different gradients: is a new mask drawn in the backward "
    "pass? It must be the very mask of the forward pass.",
    done="right, and masked as forward.",
)
def layer_gradients(grad_y, x, weights, bias, mask, *, slope=lambda h: h * (1 - h), m=lambda m: m,
                    sign=-1, mean=False, g=sigmoid, bias_sign=-1):  # fmt: skip
    """Gradients of the loss with respect to x, weights and bias."""
    grad_z = grad_y * m(mask) * slope(g(x @ weights.T + bias_sign * bias))
    n = len(x) if mean else 1
    return grad_z @ weights, grad_z.T @ x / n, sign * grad_z.sum(axis=0) / n


# fmt: off
wrong = layer_gradients.wrong
wrong("not-masked", "{what} is not masked: a unit that was dropped did not act on the loss, so "
      "nothing flows back through it. Multiply grad_y by the mask of the forward pass.",
      {"m": lambda m: 1}, {"m": lambda m: 1, "slope": lambda h: 1}, {"m": lambda m: 1, "sign": 1})
wrong("mask-drawn-anew", "{what} does not follow the mask it was given: is a new mask drawn in "
      "the backward pass? It must be the very mask of the forward pass.",
      {"m": lambda m: np.random.default_rng(0).random(m.shape) < 0.5})
wrong("no-derivative", "{what} lacks the derivative of the sigmoid, h * (1 - h).",
      {"slope": lambda h: 1}, {"slope": lambda h: h})
wrong("derivative-of-z", "{what} takes the derivative at z in place of h: with h = sigmoid(z) it "
      "is h * (1 - h).", {"g": lambda z: z}, {"slope": lambda h: sigmoid(h) * (1 - sigmoid(h))})
wrong("derivative-of-another", "{what} has the derivative of another activation: that of the "
      "sigmoid is h * (1 - h).", {"g": np.tanh, "slope": lambda h: 1 - h**2},
      {"slope": lambda h: 1 - h**2}, {"slope": lambda h: h > 0.5})
wrong("one-mask-for-all", "{what} takes one row of the mask for all examples. Each example has "
      "its own.", {"m": lambda m: m[:1]}, {"m": lambda m: m.mean(axis=0)})
wrong("rescaled", "{what} divides by the share that was kept. Forward nothing was divided, so "
      "nothing is here.", {"m": lambda m: m / m.mean()},
      {"m": lambda m: m / np.maximum(m.mean(axis=1, keepdims=True), 1e-9)}, {"m": lambda m: 2 * m})
wrong("mean", "{what} is a mean over the batch. Take the sum: grad_y already carries whatever "
      "average the loss takes.", {"mean": True})
wrong("bias-added", "The bias is added somewhere. The layer subtracts it, z = Wx - b: so h is "
      "taken there, and the gradient of the bias has a minus sign.", {"sign": 1}, {"bias_sign": 1},
      {"bias_sign": 1, "sign": 1}, {"bias_sign": 0})
wrong("sign", "{what} has the wrong sign.", {"slope": lambda h: -h * (1 - h)})
wrong("drop-for-keep", "{what} is masked where units were kept: multiply by the mask, not by 1 - "
      "mask.", {"m": lambda m: 1 - m})
# fmt: on


# How long it takes


def steps_cases(data):
    pairs = [(0.5, 0.95), (0.5, 0.9), (0.9, 0.95), (0.2, 0.95), (0.7, 0.999), (1.0, 0.95),
             (0.5, 0.75), (0.01, 0.95), (0.8, 0.75), (0.99, 0.5)]  # fmt: skip
    pairs += [(keep_prob, 0.987) for keep_prob in data.uniform(0.03, 0.97, 4).round(2)]
    return [{"keep_prob": float(keep_prob), "confidence": c} for keep_prob, c in pairs]


@exercise(
    returns=Number("The number of steps", whole=True),
    cases=steps_cases,
    otherwise="Dropped n times in a row has probability (1 - keep_prob)^n; look for the smallest n "
    "for which that is at most 1 - confidence.",
    done="the smallest number, for all settings.",
)
def steps_needed(keep_prob, confidence, *, tie=1 + 1e-9, shift=0):
    """The smallest number of steps after which a unit took part with that probability."""
    n = 1
    while (1 - keep_prob) ** n > (1 - confidence) * tie:
        n += 1
    return n + shift


def logs(keep_prob, confidence, missed=lambda p: 1 - p):
    """The number before rounding."""
    dropped = missed(keep_prob)
    return math.log(1 - confidence) / math.log(dropped) if 0 < dropped < 1 else 1


STEPS = "For keep_prob={keep_prob} and confidence={confidence} you answer {yours}"
# fmt: off
wrong = steps_needed.wrong
wrong("drop-for-keep", STEPS + ", where {right} would do: did you take keep_prob for the "
      "probability to drop? A unit misses a step with probability 1 - keep_prob.",
      lambda p, c: math.ceil(logs(p, c, lambda p: p) - 1e-9),
      lambda p, c: math.floor(logs(p, c, lambda p: p) + 1e-9) if p < 1 else 1)
wrong("always-half", STEPS + ", as for keep_prob=0.5. How likely is it to miss one step when "
      "keep_prob is not 1/2?", lambda p, c: math.ceil(logs(0.5, c) - 1e-9))
wrong("rounded-down", STEPS + ", but so few steps do not reach that probability. Is it rounded "
      "down, or to the nearest? Only a whole step more is enough.",
      lambda p, c: math.floor(logs(p, c) + 1e-9),
      lambda p, c: max(1, math.floor(logs(p, c) + 1e-9)), lambda p, c: round(logs(p, c)),
      lambda p, c: max(1, round(logs(p, c))))
wrong("one-too-many", STEPS + ", but one step fewer reaches it already. Look for the smallest "
      "number.", {"shift": 1})
wrong("more-than", STEPS + ", but {right} reaches it exactly, and that is enough: the probability "
      "must be confidence or more.", lambda p, c: math.floor(logs(p, c) + 1e-9) + 1,
      lambda p, c: math.floor(logs(p, c) + 1e-9) + 1 if p < 1 else 1)
wrong("expected-wait", STEPS + ". 1/keep_prob is how long one waits on average. Here it must have "
      "happened with the given probability: dropped n times in a row has probability (1 - "
      "keep_prob)^n.", lambda p, c: math.ceil(1 / p), lambda p, c: math.ceil(c / p),
      lambda p, c: round(1 / p))
wrong("approximation", STEPS + ", right is {right}. exp(-n p) is near (1 - p)^n for small p only: "
      "take the power.", lambda p, c: math.ceil(-math.log(1 - c) / p - 1e-9))
wrong("two-sided", STEPS + ", right is {right}. There is one side only: dropped every time has "
      "probability 1 - confidence at most, not half of it.",
      lambda p, c: math.ceil(logs(p, (1 + c) / 2) - 1e-9))
wrong("log-of-confidence", STEPS + ", right is {right}. Dropped every time, (1 - keep_prob)^n, "
      "must be at most 1 - confidence: it is the logarithm of that, not of confidence.",
      lambda p, c: max(1, math.ceil(math.log(c) / math.log(1 - p))) if p < 1 else 1,
      lambda p, c: max(1, math.ceil(math.log(c) / math.log(p))) if p < 1 else 1)
wrong("keep-prob-1", "With keep_prob=1 a unit takes part in the very first step: 1 is enough; you "
      "answer {yours}.", lambda p, c: 0 if p == 1 else math.ceil(logs(p, c) - 1e-9))
wrong("capped", STEPS + ": does your loop end too early? Some units wait long; go on until it is "
      "reached.",
      *(lambda p, c, most=most: min(most, math.ceil(logs(p, c) - 1e-9))
        for most in (10, 20, 50, 100)))
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
    returns=(
        Number("The mean", "mean"),
        Number("The lower end", "low"),
        Number("The upper end", "high"),
        Number("The number of seeds that agree", "n_agree"),
    ),
    cases=comparison_cases,
    otherwise="With d = ours - baseline the interval is d.mean() -+ t * d.std(ddof=1) / sqrt(n), "
    "and a seed agrees if its d has the sign of the mean; 0 has none.",
    done="paired, Student's t, agreeing seeds counted.",
)
def paired_comparison(ours, baseline, *, spread=lambda a, b: (a - b).std(ddof=1) / len(a) ** 0.5,
                      level=0.975, t=lambda level, a, b: stats.t.ppf(level, len(a) - 1),
                      agree=lambda d: (np.sign(d) == np.sign(d.mean())).sum()):  # fmt: skip
    """Mean, ends of the 95 % interval, and how many seeds have the sign of the mean."""
    d = ours - baseline
    half = t(level, ours, baseline) * spread(ours, baseline)
    return d.mean(), d.mean() - half, d.mean() + half, agree(d)


def unpaired(a, b):
    return np.sqrt((a.var(ddof=1) + b.var(ddof=1)) / len(a))


def welch(level, a, b):
    u, v = a.var(ddof=1), b.var(ddof=1)
    return stats.t.ppf(level, (len(a) - 1) * (u + v) ** 2 / (u**2 + v**2))


NORMAL = {"t": lambda level, a, b: stats.norm.ppf(level)}
# fmt: off
wrong = paired_comparison.wrong
wrong("unpaired", "The interval is unpaired: it adds the spread of ours to that of baseline. Both "
      "ran with the same seeds, so what a seed makes hard is in both: take the differences first.",
      {"spread": unpaired}, {"spread": unpaired, "t": welch},
      {"spread": unpaired, "t": lambda level, a, b: stats.t.ppf(level, 2 * len(a) - 2)},
      {"spread": unpaired} | NORMAL, {"spread": unpaired, "t": lambda level, a, b: 1.96})
wrong("spread-of-seeds", "The interval shows how single seeds scatter. The mean of n seeds is "
      "surer than one: divide the standard deviation by the square root of n.",
      {"spread": lambda a, b: (a - b).std(ddof=1)},
      {"spread": lambda a, b: (a - b).std(ddof=1), "t": lambda level, a, b: 1.0},
      {"spread": lambda a, b: (a - b).std(ddof=1)} | NORMAL)
wrong("normal", "1.96 belongs to a known spread. Yours is estimated from few seeds: take "
      "Student's t with n - 1 degrees of freedom.", NORMAL, {"t": lambda level, a, b: 1.96},
      {"t": lambda level, a, b: 2.0})
wrong("degrees-of-freedom", "Student's t has n - 1 degrees of freedom here: one is spent on the "
      "mean.", {"t": lambda level, a, b: stats.t.ppf(level, len(a))},
      {"t": lambda level, a, b: stats.t.ppf(level, 2 * len(a) - 2)},
      {"t": lambda level, a, b: stats.t.ppf(level, 2 * len(a) - 1)})
wrong("ddof", "The standard deviation divides by n. From a sample take n - 1: std(ddof=1).",
      {"spread": lambda a, b: (a - b).std() / len(a) ** 0.5})
wrong("n-for-root", "The standard deviation is divided by n. The mean's error falls with the ROOT "
      "of n.", {"spread": lambda a, b: (a - b).std(ddof=1) / len(a)})
wrong("one-sided", "The interval leaves out 5 % on each side. For 95 % leave out 2.5 %: the 0.975 "
      "quantile.", {"level": 0.95})
wrong("turned-round", "The sign is turned round: the difference is ours - baseline, negative "
      "where ours is lower.", lambda ours, baseline: paired_comparison.right(baseline, ours))
wrong("ends-swapped", "The ends are swapped: the lower one comes first, low < mean < high.",
      {"spread": lambda a, b: -(a - b).std(ddof=1) / len(a) ** 0.5})
wrong("not-symmetric", "This interval is not by Student's t: it is made of quantiles, of the "
      "seeds or of resampled ones. With so few seeds take the mean and t * s / sqrt(n) to both "
      "sides.",
      lambda a, b: ((d := a - b).mean(), *np.quantile(d, [0.025, 0.975]),
                    (d * d.mean() > 0).sum()),
      lambda a, b: ((d := a - b).mean(), d.min(), d.max(), (d * d.mean() > 0).sum()))
wrong("share", "n_agree is a count of seeds, not a share.",
      {"agree": lambda d: (np.sign(d) == np.sign(d.mean())).mean()})
wrong("tie-counted", "A seed with a difference of 0 has no sign: it does not agree. You count "
      "{yours}, right is {right}.", {"agree": lambda d: (d * d.mean() >= 0).sum()},
      {"agree": lambda d: ((d > 0) == (d.mean() > 0)).sum()})
wrong("sign-fixed", "Which sign agrees depends on the sign of the mean. You count {yours}, right "
      "is {right}.", {"agree": lambda d: (d < 0).sum()}, {"agree": lambda d: (d <= 0).sum()},
      {"agree": lambda d: (d > 0).sum()}, {"agree": lambda d: max((d > 0).sum(), (d < 0).sum())})
# fmt: on


# The learning rate


def rate_cases(data):
    """Losses at random: each way to choose has a winner of its own."""
    shapes = [(4, 3, 9), *[(3, 5, 8)] * 12, *[(6, 2, 4)] * 8]
    return [
        {
            "rates": np.sort(10 ** data.uniform(-3, 0, shape[0])).round(5),
            "val_loss": data.uniform(0.2, 2, shape),
        }
        for shape in shapes
    ]


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
wrong("lucky-seed", "The lowest loss of any seed decides. One lucky seed says little: take the "
      "mean over the seeds, then compare rates.", {"over_seeds": np.min},
      lambda r, v: (r[i := int(v.min((1, 2)).argmin())], i in (0, len(r) - 1)))
wrong("last-epoch", "The loss after the last epoch decides. A network is used as it was at its "
      "best epoch: take each seed's lowest loss over the epochs.",
      {"over_epochs": lambda x: x[..., -1]})
wrong("mean-over-epochs", "The mean over all epochs decides: that favours a rate that is quick at "
      "the start. Take each seed's lowest loss over the epochs.",
      {"over_epochs": lambda x: x.mean(axis=-1)}, {"over_epochs": lambda x: x.sum(axis=-1)},
      {"over_epochs": lambda x: np.median(x, axis=-1)})
wrong("first-epoch", "The loss after the first epoch decides. Let each rate train to its best "
      "epoch.", {"over_epochs": lambda x: x[..., 0]})
wrong("highest", "A loss is better when it is LOWER.", {"pick": np.argmax})
wrong("worst-seed", "The worst seed decides. Take the mean over the seeds.", {"over_seeds": np.max})
wrong("index", "You return the place of the rate in the grid. Return the rate itself, rates[best].",
      lambda rates, v: (i := int(v.min(-1).mean(-1).argmin()), i in (0, len(rates) - 1)))
wrong("edge", "The first and the last rate of the grid are its edges, and no other: there a "
      "better rate may lie beyond. Say True for these two alone.", {"edge": lambda best, n: False},
      {"edge": lambda best, n: True}, {"edge": lambda best, n: best == n - 1},
      {"edge": lambda best, n: best == 0}, {"edge": lambda best, n: best not in (0, n - 1)})
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


LAYERS = {  # wrong ones, and what is wrong with each
    "mask-at-prediction": (of(kept, kept), "still has its mask on at prediction"),
    "no-factor": (of(kept, lambda h, p, rng: h), "forgets the factor keep_prob at prediction"),
    "drop-for-keep": (of(lambda h, p, rng: kept(h, 1 - p, rng)), "drops with keep_prob"),
    "shared-mask": (
        of(lambda h, p, rng: h * (rng.random(h.shape[1]) < p)),
        "has one mask for the whole batch",
    ),
    "seeded": (
        of(lambda h, p, rng: kept(h, p, np.random.default_rng(0))),
        "draws the same mask in every call",
    ),
    "scaled-in-training": (of(lambda h, p, rng: kept(h, p, rng) / p), "scales in both phases"),
    "whole-examples": (
        of(lambda h, p, rng: h * (rng.random((len(h), 1)) < p)),
        "drops whole examples: all units of one, or none",
    ),
    "noise": (
        of(lambda h, p, rng: h * rng.normal(p, (p * (1 - p)) ** 0.5, h.shape)),
        "has the right mean and variance, but drops nothing: its factors are Gaussian",
    ),
    "no-mask": (of(lambda h, p, rng: p * h), "never drops a unit"),
}  # fmt: skip


def judge_traits(run, data):
    for layer_, name in ((masked, "arrays"), (masked_by_loops, "loops")):
        for _ in range(5):
            yield from found(
                not run(layer=layer_), f"rejects-{name}",
                "Your check rejects a right layer, at least sometimes. Chance must not decide: a "
                "share kept among n entries varies by about sqrt(p (1 - p) / n); leave room for "
                "six times that, or take more entries.",
            )  # fmt: skip
    for name, (layer_, what) in LAYERS.items():
        yield from found(
            run(layer=layer_), f"accepts-{name}", f"Your check accepts a layer that {what}."
        )


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
