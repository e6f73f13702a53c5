"""Checks of the exercises on normalization."""

import math
import os

import numpy as np
from scipy import stats
from scipy.special import comb
from scipy.special import expit as sigmoid

from lib.checks.engine import Array, Missed, Number, call, exercise, found, summary_of
from lib.checks.traits import (
    BY_SHARE,
    RARE,
    SIGMAS,
    alternative,
    coins,
    factor,
    factor_name,
    first,
    fresh,
    layer,
    torch_seeded,
)
from lib.masks import all_masks

summary = summary_of("normalization")

# fmt: off
TIMES_KEEP = ("times-keep", "Kept units are multiplied by keep_prob, which makes small activations "
    "smaller still. The mask has already lowered the mean to keep_prob times itself: scale by "
    "1/keep_prob to restore it.")
INVERTED = {  # from the factors in training and at prediction
    ("1", "1"): ("no-scale", "The mask is right, but nothing is scaled: the mean falls to "
        "keep_prob times itself. Divide what is kept by keep_prob."),
    ("keep_prob", "1"): TIMES_KEEP,
    ("keep_prob", "keep_prob"): TIMES_KEEP,
    ("1/keep_prob^2", "1"): ("divided-twice", "Kept units are divided by keep_prob squared, so the "
        "mean grows to 1/keep_prob times itself: did you divide by keep_prob twice?"),
    ("1/(1 - keep_prob)", "1"): ("factor-of-drop", "The factor is 1/(1 - keep_prob). That is the "
        "formula of those who write p for the probability to drop; with the probability to keep it "
        "is 1/keep_prob."),
    ("sqrt(1/keep_prob)", "1"): ("root", "Kept units are divided by the root of keep_prob. That "
        "keeps the mean SQUARE. It is the mean that must stay: with probability keep_prob an entry "
        "is a, so keep_prob * a = 1."),
    ("1", "keep_prob"): ("original-rule", "The scale is in the wrong phase: this is the original "
        "rule, which keeps the mean by scaling at prediction. The inverted one divides by "
        "keep_prob in training, so that prediction has nothing to do."),
    ("1", "1/keep_prob"): ("divided-at-prediction", "The scale is in the wrong phase: divide by "
        "keep_prob in training, where units are missing, not at prediction, where all are there."),
    ("1/keep_prob", "keep_prob"): ("scaled-twice", "The scale is there twice: you divide by "
        "keep_prob in training and multiply by it at prediction. After the first the mean is "
        "right; leave prediction alone."),
    ("1/keep_prob", "1/keep_prob"): ("both-phases", "You divide by keep_prob in both phases. At "
        "prediction no unit is missing, so there is nothing to make up for."),
}
IN_TORCH = INVERTED | {
    ("1/keep_prob", "keep_prob"): ("scaled-twice", "The scale is there twice: torch already "
        "divides by keep_prob in training, so eval() needs no factor."),
    ("1/keep_prob^2", "1"): ("divided-twice", "The scale is there twice in training: torch already "
        "divides by keep_prob."),
    ("1", "1"): ("no-scale", "The mean is not kept: torch divides by keep_prob in training, and "
        "something undoes that."),
    ("1", "keep_prob"): ("original-rule", "This keeps the mean, but in the original way, by a "
        "factor after eval(). F.dropout divides in training, so that eval() has nothing to do: "
        "leave both to it."),
    "mask-at-prediction": "Neither F.dropout nor an nn.Dropout made inside forward hears of "
        "eval(): pass training=self.training.",
}
# fmt: on


def one_factor(outputs, units, keep_prob):
    """Whether units, nowhere 0, become 0 or have one factor in several calls: not 1/share."""
    ratios = outputs / units
    kept = ratios[ratios != 0]
    if not kept.size or np.allclose(kept, kept[0], rtol=1e-3):
        return
    several = f"{kept.min():.4g} and {kept.max():.4g}"
    axes = [None, *range(1, ratios.ndim), tuple(range(1, ratios.ndim))]
    some_dropped = [ratios.mean(axis)[(ratios == 0).any(axis)] for axis in axes]
    if kept.size == ratios.size:
        label, sentence = "not-zero", (
            "Nothing is 0, and yet not all is kept as it is. What is dropped is 0; what is kept "
            f"has one factor for all. Yours have several, between {several}.")  # fmt: skip
    elif any(len(means) and np.isclose(means, 1).mean() > 0.9 for means in some_dropped):
        label, sentence = "by-share", f"What is kept has several factors, {several}. {BY_SHARE}"
    else:
        label, sentence = "several-factors", (
            f"What is kept has several factors, {several}, with keep_prob={keep_prob:g}. Each "
            "entry must be 0, or what it was times one factor a: keep_prob * a = 1.")  # fmt: skip
    yield from found(True, label, sentence)


# A mask of mean 1


def mask_traits(run, data):
    def of_size(keep_prob, shape):
        rng, axes = np.random.default_rng(data), ("call", "example", "unit", "channel")
        masks = np.array([run(shape=shape, keep_prob=keep_prob, rng=rng) for _ in range(20)])
        value = masks.flat[np.abs(masks).argmax()]
        label, sentence = INVERTED.get(
            (factor_name(value, keep_prob), "1"),
            ("another-factor", f"A kept unit has the value {value:.4g}, so the mask has the mean "
             f"{masks.mean():.3g}. It must be 1: which value of the kept ones gives that?"),
        )  # fmt: skip
        yield from first(
            one_factor(masks, np.ones(shape), keep_prob),
            found((1 - keep_prob) ** shape[-1] > 0.1 and masks.any(-1).all() and not masks.all(),
                  "never-empty", "A row that would lose all of its entries gets one back. Entries "
                  "are independent: a row of zeros may happen."),
            coins(masks != 0, keep_prob, axes[: masks.ndim]),
            found(not math.isclose(value, 1 / keep_prob, rel_tol=1e-3), label, sentence),
        )  # fmt: skip

    def all_kept(shape):
        off = (run(shape=shape, keep_prob=1.0) != 1).any()
        yield from found(off, "keep-prob-1", "With keep_prob=1 the mask is all 1.")

    yield from first(
        of_size(0.8, (100, 40)),
        of_size(0.3, (50, 70)),
        fresh(lambda rng: run(shape=(4, 50), keep_prob=0.8, rng=rng)),
        of_size(0.25, (400, 4)),
        of_size(0.6, (12, 8, 10)),
        all_kept((7,)),
    )


@exercise(
    returns=Array("The mask", lambda shape: shape, "It has the shape that is asked for."),
    traits=mask_traits,
    done="0 or 1/keep_prob, mean 1, fresh at each call.",
)
def inverted_mask(shape, keep_prob, rng):
    """Zeros and 1/keep_prob, the latter with probability `keep_prob`."""
    return (rng.random(shape) < keep_prob) / keep_prob


# Two phases


def scaled_layer(run, units, keep_prob, sentences):
    """Findings of an inverted layer: ``run(phase, rng)`` is what it makes of `units`."""
    rng = np.random.default_rng(3)
    few = np.array([run("train", rng) for _ in range(3)])
    test, again = run("test", rng), run("test", rng)
    unmasked = np.array_equal(test == 0, units < 0) or test.all() and again.all()
    equal = np.array_equal(test, again)
    yield from first(
        found(
            unmasked and not equal, "random-at-prediction",
            "Two predictions for the same input differ, though nothing is 0. At prediction nothing "
            "is drawn.",
        ),
        found(
            unmasked and equal and factor(test, units) is None, "other-function",
            "At prediction units are changed, and not by one factor. Is there an activation, or a "
            "sum, that is not asked for?",
        ),
        one_factor(few, units, keep_prob),
        layer(run, units, keep_prob, ("1/keep_prob", "1"), sentences),
    )  # fmt: skip


def phases_traits(run, data):
    def of_size(keep_prob, size):
        act = data.normal(size=size)

        def phase_of(phase, rng):
            return run(act=act, keep_prob=keep_prob, phase=phase, rng=rng)

        yield from scaled_layer(phase_of, act, keep_prob, INVERTED)

    def all_kept(act):
        off = not np.allclose(run(act=act, keep_prob=1.0, phase="train"), act)
        yield from found(off, "keep-prob-1", "With keep_prob=1 training changes nothing.")

    yield from first(of_size(0.8, (100, 40)), of_size(0.3, (120, 25)), all_kept(np.ones((3, 4))))


@exercise(
    returns=Array("The output", lambda act: act.shape, "It has the shape of act."),
    traits=phases_traits,
    phases=lambda data: {"act": data.normal(size=(3, 4)), "keep_prob": 0.5},
    done="scaled in training, the identity at prediction.",
)
def dropout2(act, keep_prob, phase, rng):
    """Inverted dropout."""
    if phase not in ("train", "test"):
        raise ValueError(phase)
    return act if phase == "test" else act * (rng.random(act.shape) < keep_prob) / keep_prob


# The factor moves into the weights


class Predictions:
    """What layers predict, where hidden units are sigmoid: networks are compared by it."""

    what = short = "The prediction of the folded network"

    def read(self, result, case):
        layers = case["layers"]
        pairs = isinstance(result, list | tuple) and len(result) == len(layers) and all(
            isinstance(pair, list | tuple) and len(pair) == 2 for pair in result)  # fmt: skip
        if not pairs:
            wanted = f"a list of {len(layers)} pairs (weights, bias), one for each layer."
            raise Missed(f"Return {wanted}", "no-pairs")
        x = np.random.default_rng(0).normal(size=(5, layers[0][0].shape[1]))
        for k, (pair, old) in enumerate(zip(result, layers, strict=True)):
            parts = zip(("weights", "bias"), pair, old, strict=True)
            weights, bias = (Array(f"The {what} of layer {k}", lambda old: old.shape).read(
                part, {"old": each}) for what, part, each in parts)  # fmt: skip
            x = (sigmoid(x) if k else x) @ weights.T - bias
        return x


def fold_cases(data):
    def network(sizes, keep_probs):
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        layers = [(2 * data.normal(size=(n, m)), data.normal(size=n)) for m, n in pairs]
        return {"layers": layers, "keep_probs": keep_probs}

    one = network((4, 6, 5, 3), [0.8, 0.5])
    return [one, one | {"keep_probs": [0.3, 0.5]}, network((2, 7, 3), [0.3]),
            network((3, 4, 6, 5, 2), [0.9, 0.2, 0.7]), network((4, 4, 4), [1.0]),
            network((3, 5), [])]  # fmt: skip


@exercise(
    returns=Predictions(),
    cases=fold_cases,
    otherwise="It must be what the old one predicts with its activations times keep_prob. Each "
    "factor goes into the weights of the layer after it, once.",
    done="the same predictions, with no factor left.",
)
def fold_into_weights(layers, keep_probs, *, place=lambda k: [1, *k], of=lambda k: k,
                      on_weights=lambda f: f, on_bias=lambda f: 1):  # fmt: skip
    """Scale the weights that lead out of units that were dropped."""
    factors = place([of(keep_prob) for keep_prob in keep_probs])
    return [(on_weights(f) * w, on_bias(f) * b) for f, (w, b) in zip(factors, layers, strict=True)]


# fmt: off
fold_into_weights.wrong("unchanged", "The weights are the old ones: where has the factor gone?",
    {"of": lambda k: 1})
fold_into_weights.wrong("into-units", "The factors are in the weights that lead INTO the units "
    "dropped. They scale what these units say, so they belong to the weights that lead out: "
    "those of the next layer.", {"place": lambda k: [*k, 1]},
    {"place": lambda k: [*k, 1], "on_bias": lambda f: f})
fold_into_weights.wrong("first-layer-too", "The weights of the first layer are scaled, but "
    "nothing was dropped before them: keep_probs[0] is that of its own units, and goes into the "
    "second layer's weights.", {"place": lambda k: [*k[:1], *k] if k else [1]})
fold_into_weights.wrong("both-sides", "The factors are in the weights into the units dropped AND "
    "in those out of them. Each factor is needed once, in the weights that lead out.",
    {"place": lambda k: [a * b for a, b in zip([1, *k], [*k, 1], strict=True)]})
fold_into_weights.wrong("bias-scaled", "The biases are scaled too. Dropout scaled the "
    "activations that come in; the bias is there whether units are dropped or not.",
    {"on_bias": lambda f: f})
fold_into_weights.wrong("only-bias", "The factors are on the biases. Dropout scaled the "
    "activations, and it is the weights that multiply them.",
    {"on_weights": lambda f: 1, "on_bias": lambda f: f},
    {"on_weights": lambda f: 1, "on_bias": lambda f: 1 / f})
fold_into_weights.wrong("bias-sign", "The biases changed their sign. They stay as they are.",
    {"on_bias": lambda f: -1})
fold_into_weights.wrong("bias-divided", "The biases are divided by the factor. They come "
    "after the weights have done their work: leave them as they are.", {"on_bias": lambda f: 1 / f})
fold_into_weights.wrong("divided", "The weights are divided by keep_prob. In training a share "
    "keep_prob of the units spoke, at prediction all do: multiply.", {"of": lambda k: 1 / k})
fold_into_weights.wrong("reversed", "The keep_probs are the wrong way round: keep_probs[0] is "
    "that of the first hidden layer.", {"place": lambda k: [1, *k[::-1]]},
    {"place": lambda k: [*k[::-1], 1]})
fold_into_weights.wrong("drop-for-keep", "The factor is 1 - keep_prob, or 1 over it: did you "
    "take keep_prob for the probability to drop?", {"of": lambda k: 1 - k},
    {"of": lambda k: 1 / (1 - k)})
fold_into_weights.wrong("squared", "The factor is keep_prob squared: is it applied twice?",
    {"of": lambda k: k**2})
fold_into_weights.wrong("root", "The factor is the root of keep_prob. The activations had "
    "keep_prob itself, and the weights that multiply them take it over.", {"of": lambda k: k**0.5})
fold_into_weights.wrong("piled-up", "The factors pile up from layer to layer. A sigmoid stands "
    "between two layers, and through it no factor goes: each acts once, on the weights right "
    "after its units.", {"place": lambda k: np.cumprod([1, *k])},
    {"place": lambda k: [*np.cumprod(k), 1]}, {"place": lambda k: [1] * len(k) + [math.prod(k)]},
    {"place": lambda k: [math.prod(k)] * (len(k) + 1)},
    {"place": lambda k: [math.prod(k)] + [1] * len(k)})
fold_into_weights.wrong("one-keep-prob", "One keep_prob is used for all layers. Each hidden "
    "layer has its own.",
    *({"place": lambda k, i=i: [1] + [k[i]] * len(k) if k else [1]} for i in (0, -1)),
    {"place": lambda k: [1] + [float(np.mean(k))] * len(k) if k else [1]})
fold_into_weights.wrong("some-layers", "Some layers got no factor: every layer but the first has "
    "dropped units before it, the last one too.",
    {"place": lambda k: [1, *k[:-1], 1] if k else [1]},
    {"place": lambda k: [1] + [1] * len(k[1:]) + k[-1:]},
    {"place": lambda k: [1] + k[:1] + [1] * len(k[1:])},
    {"place": lambda k: [*k[:1], *[1] * len(k)] if k else [1]})
# fmt: on


# The exact mean

# fmt: off
UNIT = {  # what may stand for sigmoid(m @ s - b), with masks m and shares s = hidden * weights
    "scaled-masks": ("The masks are scaled, by 1/keep_prob or by the share kept. In this "
        "exercise they hold zeros and ones.", lambda m, s, b, p: sigmoid(m @ s / p - b),
        lambda m, s, b, p: sigmoid(m @ s / np.maximum(m.mean(1), 1e-9) - b)),
    "scaled-too": ("keep_prob is there twice: as a factor, and in the masks. The masks alone do "
        "it.", lambda m, s, b, p: sigmoid(m @ s * p - b),
        lambda m, s, b, p: sigmoid(m @ s - b) * p),
    "bias-added": ("The bias is subtracted in this exercise: sigmoid(w . (m h) - b).",
        lambda m, s, b, p: sigmoid(m @ s + b)),
    "no-bias": ("The bias is missing: sigmoid(w . (m h) - b).", lambda m, s, b, p: sigmoid(m @ s)),
    "bias-masked": ("The bias is masked, scaled, outside the sigmoid, or there for each input. It "
        "is subtracted once, inside, whether units are dropped or not.",
        lambda m, s, b, p: sigmoid(m @ s) - b, lambda m, s, b, p: sigmoid(m @ (s - b)),
        lambda m, s, b, p: sigmoid(m @ s - len(s) * b), lambda m, s, b, p: sigmoid(m @ s - p * b)),
    "mask-outside": ("The mask multiplies the output. It belongs to the inputs of the unit: w . "
        "(m h).", lambda m, s, b, p: m.mean(1) * sigmoid(s.sum() - b)),
    "sigmoid-of-each": ("The sigmoid is taken of each input's share. Sum over the inputs first: "
        "the unit has one sigmoid.", lambda m, s, b, p: m @ sigmoid(s - b),
        lambda m, s, b, p: m @ sigmoid(s), lambda m, s, b, p: sigmoid(m * s - b).sum(1)),
    "plus-minus": ("A dropped unit has its sign turned. It says nothing: its entry in the mask "
        "is 0.", lambda m, s, b, p: sigmoid((2 * m - 1) @ s - b)),
    "other-activation": ("The nonlinearity is another one, or missing: the unit says sigmoid(w "
        ". (m h) - b).", lambda m, s, b, p: m @ s - b, lambda m, s, b, p: np.tanh(m @ s - b),
        lambda m, s, b, p: np.maximum(m @ s - b, 0)),
}
# fmt: on
BEFORE = (
    "The average is taken before the nonlinearity: this is weight scaling, which only approximates "
    "the mean. Compute the output for each mask, then average the outputs."
)


def chances(masks, keep_prob):
    """The probability of each mask."""
    return np.prod(np.where(masks, keep_prob, 1 - keep_prob), axis=1)


def both(weigh):
    """Weights of the masks, as they are and made to add up to 1."""
    add_up = {"chance": lambda m, p: weigh(m, p) / max(weigh(m, p).sum(), 1e-300)}
    return {"chance": weigh}, add_up


def without(row):
    """The probabilities, without one mask."""
    return lambda m, p: np.where(np.arange(len(m)) == row % len(m), 0, chances(m, p))


# fmt: off
MEANS = [  # what may stand for the mean over masks: other weights, or another combination
    ("equally", "All masks count the same. They are equally likely for keep_prob=0.5 only: "
        "weight each by its probability, keep_prob^kept * (1 - keep_prob)^dropped.",
        {"chance": lambda m, p: np.full(len(m), 1 / len(m))}),
    ("drop-for-keep", "The probabilities are those of dropping: did you take keep_prob for the "
        "probability to drop? A mask of k ones among n has keep_prob^k * (1 - keep_prob)^(n - k).",
        {"chance": lambda m, p: chances(m, 1 - p)}),
    *((f"mask-that-{which}-all-missing", f"The mask that {which} every unit is missing. There are "
        "2^n masks, that one too.", *both(without(row))) for row, which in ((0, "drops"),
                                                                            (-1, "keeps"))),
    ("no-dropped", "The weights are keep_prob^kept alone, and those do not add up to 1. A unit "
        "that is dropped has a probability too: times (1 - keep_prob)^dropped.",
        *both(lambda m, p: p ** m.sum(1))),
    ("no-kept", "The weights are (1 - keep_prob)^dropped alone. A unit that is kept has a "
        "probability too: times keep_prob^kept.", *both(lambda m, p: (1 - p) ** (1 - m).sum(1))),
    ("binomial", "The weights hold a binomial coefficient: that is the probability of k units in "
        "all. Each of the masks with k ones is in the list, and counts once.",
        *both(lambda m, p: comb(m.shape[1], m.sum(1)) * chances(m, p))),
    ("numbers-kept", "The weights are the numbers of units kept, not probabilities.",
        *both(lambda m, p: m.sum(1))),
    ("chances-added", "The probabilities of the units are added. They are independent: multiply "
        "them.", *both(lambda m, p: np.where(m, p, 1 - p).sum(1))),
    ("averaged-once-more", "Weighted by their probabilities the outputs are summed, not averaged "
        "once more: the probabilities already add up to 1.",
        {"combine": lambda c, y: c @ y / len(y)}),
    ("sum", "This is a sum of outputs. The weights must be the masks' probabilities, and add up "
        "to 1.", {"combine": lambda c, y: y.sum(0)}),
    ("geometric", "This is another kind of mean, such as the geometric. The mean is a sum: "
        "probability times output.", {"combine": lambda c, y: np.exp(c @ np.log(np.abs(y)))},
        {"combine": lambda c, y: (c @ y**2) ** 0.5}, {"combine": lambda c, y: 1 / (c @ (1 / y))}),
]
# fmt: on


def mean_cases(data):
    cases = []
    for n, keep_prob in ((4, 0.8), (5, 0.3), (3, 0.5), (1, 0.4), (3, 1.0)):
        cases.append({"hidden": data.uniform(0.5, 2, n), "weights": 2 * data.normal(size=n),
                      "bias": float(data.uniform(0.5, 2)), "keep_prob": keep_prob})  # fmt: skip
    one = cases[0]
    others = {"hidden": -one["hidden"], "weights": one["weights"][::-1].copy(),
              "bias": -0.7, "keep_prob": 0.3}  # fmt: skip
    return cases + [one | {name: value} for name, value in others.items()]


@exercise(
    returns=Number("The mean"),
    cases=mean_cases,
    otherwise="Sum probability times output over all masks: no sample, no approximation.",
    chance="Two calls with the same arguments gave different means: are masks drawn at random? "
    "There are few enough to list them all.",
    done="every mask counted, each with its probability.",
)
def exact_mean(hidden, weights, bias, keep_prob, *, chance=chances, combine=lambda c, y: c @ y,
               y=lambda m, s, b, p: sigmoid(m @ s - b)):  # fmt: skip
    """Mean output over all masks, each with its probability."""
    masks = all_masks(len(hidden))
    return combine(chance(masks, keep_prob), y(masks, hidden * weights, bias, keep_prob))


for name, (sentence, *outputs) in UNIT.items():
    if name != "mask-outside":  # its mean is keep_prob times the whole: see below
        exact_mean.wrong(name, sentence, *({"y": y} for y in outputs))
for each in MEANS:
    exact_mean.wrong(*each)
# fmt: off
exact_mean.wrong("averaged-before-activation", BEFORE, lambda h, w, b, p: sigmoid(p * h @ w - b),
    lambda h, w, b, p: sigmoid(p * h @ w + b), lambda h, w, b, p: sigmoid(h @ w / 2 - b),
    lambda h, w, b, p: sigmoid(p * (h @ w - b)))
exact_mean.wrong("one-mask", "This is the output of one mask, with all units or with the most "
    "likely choice, perhaps times keep_prob. Average over all of them.",
    lambda h, w, b, p: sigmoid(h @ w - b), lambda h, w, b, p: p * sigmoid(h @ w - b),
    {"combine": lambda c, y: y[c.argmax()]})
# fmt: on


# Dropout as a function, in torch


def net_traits(run, data):
    with torch_seeded(0):
        yield from first(one_net(run, data, 0.8, 50), one_net(run, data, 0.3, 40))


def one_net(run, data, keep_prob, n_units):
    """Read masks off a network whose hidden units all speak, and reach its outputs as they are."""
    import torch

    x, shift = torch.from_numpy(data.uniform(-1, 1, size=(400, 4))).float(), 1.5

    def output(n_outputs, net=None):
        wanted = [(4, n_units), (n_units, n_outputs)]
        net = net or run(n_inputs=4, n_units=n_units, n_outputs=n_outputs, keep_prob=keep_prob,
                         raw=True)  # fmt: skip
        sizes = [(each.in_features, each.out_features) for name in ("hidden", "out")
                 if isinstance(each := getattr(net, name, None), torch.nn.Linear)]  # fmt: skip
        if not isinstance(net, torch.nn.Module) or sizes != wanted:
            raise Missed("The check needs a network with the layers self.hidden and self.out, as "
                         "the exercise has them.", "no-net")  # fmt: skip
        y = call(net.forward, x=x)
        if not isinstance(y, torch.Tensor) or y.shape != (len(x), n_outputs):
            shape = tuple(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__
            raise Missed(f"forward must return a tensor of shape ({len(x)}, {n_outputs}), yours "
                         f"returned {shape}.", "shape")  # fmt: skip
        return net, y

    net, _ = output(3)
    y, again = (output(3, net.eval())[1] for _ in range(2))
    h = torch.relu(net.hidden(x))
    could_be = any(torch.allclose(y, net.out(a * h), atol=1e-5)
                   for a in (1, keep_prob, 1 / keep_prob))  # fmt: skip
    net, _ = output(n_units)
    with torch.no_grad():
        net.hidden.bias += 5
        net.out.weight.copy_(torch.eye(n_units))
        net.out.bias.fill_(shift)
        units = torch.relu(net.hidden(x)).numpy()

    def drawn(phase, rng):
        net.train(phase == "train")
        torch.manual_seed(int(rng.integers(2**31)))
        h = output(n_units, net)[1].detach().numpy().astype(float) - shift
        return np.where(np.abs(h) < 1e-6, 0, h)

    def gradient():
        """With a sum as the loss, a hidden bias gets a factor from each example that kept it."""
        y, bias = output(n_units, net.train())[1], net.hidden.bias
        try:
            y.sum().backward()
            off = not np.allclose(bias.grad, (y != shift).sum(0) / keep_prob, rtol=1e-3)
        except (RuntimeError, TypeError):
            off = True
        yield from found(
            off, "no-gradient",
            "The gradient does not get through to the hidden layer as it should. Leave out "
            "detach(), no_grad() and inplace=True: the network has to learn.",
        )  # fmt: skip

    train = drawn("train", data)
    after = np.isclose(train, -shift) | np.isclose(train, (units + shift) / keep_prob - shift)
    yield from first(
        found(
            torch.equal(y, again) and not could_be, "other-network",
            "After eval() the network must say out(relu(hidden(x))). Is the ReLU missing, or is "
            "something done to what self.out returns?",
        ),
        found(
            after.mean() > 0.1, "output-dropped",
            "What self.out returns is dropped. Dropout belongs to the hidden units; a dropped "
            "output would be a wrong answer, not noise.",
        ),
        scaled_layer(drawn, units, keep_prob, IN_TORCH),
        gradient(),
    )  # fmt: skip


@exercise(
    returns=Number("The output"),
    traits=net_traits,
    done="torch told to drop 1 - keep_prob, and off after eval().",
)
def functional_net(n_inputs, n_units, n_outputs, keep_prob):
    """A network that hands torch the probability to drop, and its mode."""
    import torch  # here, so that the other checks do without it
    from torch import nn

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.out = nn.Linear(n_inputs, n_units), nn.Linear(n_units, n_outputs)

        def forward(self, x):
            h = torch.relu(self.hidden(x))
            return self.out(nn.functional.dropout(h, 1 - keep_prob, self.training))

    return Net()


# The slides' network, in Keras


def keras_traits(run, data):
    os.environ.setdefault("KERAS_BACKEND", "torch")  # as in the notebook, before the import
    yield from first(
        one_keras_net(run, data, (5, 4, 3), [60, 40], [0.8, 0.3]),
        one_keras_net(run, data, (4, 6, 1), [50], [0.45]),
        one_keras_net(run, data, (3, 3, 2), [40, 30, 50], [0.6, 0.9, 0.25]),
    )


def one_keras_net(run, data, shape, n_units, keep_probs):
    """Compare a network, without dropout, with the right one; then let all units say 1."""
    import keras

    model = run(shape=shape, n_units=n_units, keep_probs=keep_probs, raw=True)
    right = keras_net.right(shape, n_units, keep_probs)
    if not isinstance(model, keras.Model):
        raise Missed(f"Return a keras.Sequential; yours is {type(model).__name__}.", "no-net")
    sizes = [[weights.shape for weights in net.get_weights()] for net in (model, right)]
    if sizes[0] != sizes[1]:
        yours = sizes[0] or "none: does it begin with keras.Input?"
        text = f"For shape={shape} and n_units={n_units} the weights should have the shapes "
        yield from found(True, "other-layers", f"{text}{sizes[1]}, yours have {yours}"[:390])
        return
    right.set_weights(model.get_weights())
    x = data.normal(size=(100, *shape)).astype("float32")
    y, again, wanted = (keras.ops.convert_to_numpy(net(x)) for net in (model, model, right))
    model.set_weights([np.full(each.shape, each.ndim == 1) for each in model.get_weights()])

    def leaves(layers):
        for each in layers:
            yield from leaves(each.layers) if hasattr(each, "layers") else [each]

    def inputs_of_dense():
        h, before = x, []
        for each in leaves(model.layers):
            if isinstance(each, keras.layers.Dense):
                before.append(keras.ops.convert_to_numpy(h))
            if not isinstance(each, keras.layers.InputLayer):
                h = each(h, training=True)
        return [*before, keras.ops.convert_to_numpy(h)]

    calls = [np.array(each) for each in zip(*(inputs_of_dense() for _ in range(4)), strict=True)]
    shares = [(each != 0).mean() for each in calls[1:-1]]
    turned = max(map(abs, np.subtract(shares, keep_probs[::-1]))) < 0.05

    def behind(outputs, keep_prob, n):
        value = outputs.max()
        say = {"no-mask": f"Behind the dense layer of {n} units nothing is dropped. Each hidden "
               "dense layer has a Dropout layer of its own."}  # fmt: skip
        yield from first(
            one_factor(outputs, np.ones(outputs.shape[1:]), keep_prob),
            coins(outputs != 0, keep_prob, ("call", "example", "unit"), sentences=say),
            found(not math.isclose(value * keep_prob, 1, rel_tol=1e-3), "another-factor",
                  f"What is kept has the factor {value:.4g}, with keep_prob={keep_prob:g}. A "
                  "keras.layers.Dropout divides by keep_prob, and nothing more is needed."),
        )  # fmt: skip

    yield from first(
        found(not np.array_equal(y, again), "mask-at-prediction",
              "Two predictions for the same images differ. Leave it to Keras when to drop: a layer "
              "that is called with training=True drops at prediction, too."),
        found(not np.allclose(y, wanted, rtol=1e-3, atol=1e-5), "other-network",
              "Without dropout your network computes something else. Is a ReLU missing, or the "
              "softmax at the end?"),
        found((calls[0] == 0).any(), "inputs-dropped", "What reaches the first dense layer is "
              "dropped. Dropout belongs behind each hidden dense layer."),
        found((calls[-1] == 0).any(), "output-dropped", "The output is dropped. That is a wrong "
              "answer, not noise: no dropout behind the last layer."),
        found(turned and keep_probs != keep_probs[::-1], "reversed",
              "The keep_probs are the wrong way round: keep_probs[0] is that of the first dense "
              "layer."),
        *(behind(*each) for each in zip(calls[1:-1], keep_probs, n_units, strict=True)),
    )  # fmt: skip


@exercise(
    returns=Number("The output"),
    traits=keras_traits,
    done="rate 1 - keep_prob behind each hidden dense layer, none behind the output.",
)
def keras_net(shape, n_units, keep_probs, *, rate=lambda p: 1 - p, start=(), end=()):
    """The slides' network, for images of a shape."""
    from keras import Input, Sequential
    from keras.layers import Conv2D, Dense, Dropout, Flatten

    hidden = [layer for n, keep_prob in zip(n_units, keep_probs, strict=True)
              for layer in (Dense(n, activation="relu"), Dropout(rate(keep_prob)))]  # fmt: skip
    return Sequential([Input(shape), Conv2D(32, (3, 3), activation="relu"), Flatten(), *start,
                       *hidden, Dense(10, activation="softmax"), *end])  # fmt: skip


# A script to repair


def script_traits(run, data):
    with torch_seeded(0):
        yield from first(one_script(run, data, 0.8), one_script(run, data, 0.3))


def one_script(run, data, keep_prob):
    """Listen to the linear layers: what each sends, and what reaches the next one."""
    import torch

    x = torch.from_numpy(data.normal(size=(103, 6))).float()
    y, log = (x[:, 0] > 0).long() + (x[:, 1] > 0), []

    def listen(module, inputs, output):
        if isinstance(module, torch.nn.Linear):
            weights = module.weight.detach().clone()
            log.append((inputs[0].detach().clone(), torch.relu(output.detach()), weights))

    handle = torch.nn.modules.module.register_module_forward_hook(listen)
    try:
        result = run(x_train=x[:80], y_train=y[:80], x_test=x[80:], keep_prob=keep_prob, epochs=4,
                     raw=True)  # fmt: skip
    finally:
        handle.remove()
    if not isinstance(result, list | tuple) or len(result) != 2:
        raise Missed("The script must return two things: return net, probabilities.", "how-many")
    net, chances = result
    starts = [i for i, (inputs, *_) in enumerate(log) if inputs.shape[-1] == 6]
    passes = [log[i : i + 3] for i in starts]
    if not isinstance(net, torch.nn.Module) or not passes or len(log) != 3 * len(passes):
        raise Missed("The check needs the script's network with its three nn.Linear layers, called "
                     "on minibatches and on x_test, and returned first.", "no-net")  # fmt: skip
    predictions = [each for each in passes if torch.equal(each[0][0], x[80:])]
    steps = [one for one, two in zip(passes, passes[1:], strict=False)
             if not torch.equal(one[0][2], two[0][2])]  # fmt: skip
    if not predictions or not steps:
        raise Missed("Train the network on x_train, then call it on x_test.", "no-training")

    def ratios(some, k):
        """What reaches a layer after hidden layer k, by what a unit that spoke had said."""
        units = torch.cat([each[k][1] for each in some])
        return (torch.cat([each[k + 1][0] for each in some])[units > 0] / units[units > 0]).numpy()

    def trained(k):
        kept, place = ratios(steps, k), ("first", "second")[k]
        silent = sum(ratios([each], k).all() for each in steps)
        where = f"Behind the {place} hidden layer"
        share = (kept != 0).mean()
        label, text = alternative(share, keep_prob, kept.size)
        yield from first(
            found(silent == len(steps), "no-mask", f"{where} nothing was dropped in training. Is "
                  "eval() called before it, or a dropout layer gone?"),
            found(silent, "train-lost", f"{where} {silent} of {len(steps)} training steps dropped "
                  "nothing. After eval() it needs train() again, before the next step."),
            found(label, label, f"{where} {share:.1%} of the units were "
                  f"kept, with keep_prob={keep_prob:g}: {text}"),
            found(not np.allclose(kept[kept != 0] * keep_prob, 1, rtol=1e-3), "another-factor",
                  f"{where} what was kept had another factor than 1/keep_prob. torch scales by "
                  "itself: nothing is to be added."),
        )  # fmt: skip

    at_prediction = np.concatenate([ratios(predictions[-1:], k) for k in (0, 1)])
    with torch.no_grad():
        logits, again = net.eval()(x[80:]), net(x[80:])
        wanted = logits.softmax(-1).numpy()
    given = np.asarray(chances.detach() if hasattr(chances, "detach") else chances)
    close = given.shape == wanted.shape and np.allclose(given, wanted, rtol=1e-3, atol=1e-5)
    yield from first(
        found(not torch.equal(logits, again), "function-in-eval",
              "After net.eval() two predictions for the same input differ: some dropout does not "
              "hear of eval(). F.dropout is a function: it needs training=self.training."),
        found(not at_prediction.all(), "no-eval", "Units were dropped while x_test was "
              "predicted. Dropout is for training: call net.eval() before the prediction."),
        trained(0),
        trained(1),
        found(not np.allclose(at_prediction, 1, rtol=1e-3), "scaled-at-prediction", "Units have a "
              "factor when x_test is predicted. torch scales in training: nothing is to be added."),
        found(not close, "other-probabilities", "The probabilities are not those that the network "
              "gives for x_test in eval mode, a softmax over the classes."),
    )  # fmt: skip


@exercise(
    returns=Number("The output"),
    traits=script_traits,
    done="drops 1 - keep_prob in training, twice, and nothing at prediction.",
)
def repaired_script(x_train, y_train, x_test, keep_prob, epochs, *, rate=lambda p: 1 - p,
                    flag=lambda training: training, mode=False):  # fmt: skip
    """Train a network, predict in eval mode."""
    import torch
    from torch import nn
    from torch.nn import functional

    class Net(nn.Module):
        def __init__(self):
            super().__init__()
            self.hidden, self.middle = nn.Linear(x_train.shape[1], 100), nn.Linear(100, 100)
            self.out, self.drop = nn.Linear(100, 10), nn.Dropout(rate(keep_prob))

        def forward(self, x):
            h = self.drop(torch.relu(self.hidden(x)))
            h = functional.dropout(torch.relu(self.middle(h)), 1 - keep_prob, flag(self.training))
            return self.out(h)

    net = Net()
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(epochs):
        for rows in torch.randperm(len(x_train)).split(20):
            optimizer.zero_grad()
            functional.cross_entropy(net(x_train[rows]), y_train[rows]).backward()
            optimizer.step()
    with torch.no_grad():
        return net, net.train(mode)(x_test).softmax(dim=-1)


# How many masks are enough?


def average_traits(run, data):
    def one_sample(n_samples):
        why = "One sample says nothing about how samples scatter"
        say = f"{why}: n_samples={n_samples} must raise a ValueError; yours gave an answer."
        try:
            run(n_samples=n_samples, raw=True, **UNITS, keep_prob=0.5)
            off = True
        except Missed as missed:
            off = not isinstance(missed.__cause__, ValueError)
            say = f"{why}: n_samples={n_samples} must raise a ValueError. {missed}"[:390]
        yield from found(off, "one-sample", say)

    yield from first(
        one_unit(run, data, 0.45, 1.3, 2.0, 24),
        one_unit(run, data, 0.75, 0.7, -3.0, 25),
        one_unit(run, data, 0.2, 2.0, 1.0, 30),
        several_units(run, data, 0.5),
        several_units(run, data, 0.8),
        several_units(run, data, 0.6, n=2),
        one_sample(1),
        one_sample(0),
    )


UNITS = {"hidden": np.array([1.0, 0.8, 1.2, 0.9]), "weights": np.array([4.0, -2.0, 5.0, 3.0]),
         "bias": 5.0}  # fmt: skip


def several_units(run, data, keep_prob, calls=150, n=25):
    rng, masks = np.random.default_rng(data), all_masks(4)
    outputs = sigmoid(masks @ (UNITS["hidden"] * UNITS["weights"]) - UNITS["bias"])
    averages = [run(n_samples=n, keep_prob=keep_prob, rng=rng, **UNITS)[0] for _ in range(calls)]
    chance, average = chances(masks, keep_prob), np.mean(averages)
    right = chance @ outputs
    reach = SIGMAS * math.sqrt(chance @ (outputs - right) ** 2 / calls / n)
    together = abs(keep_prob * outputs[-1] + (1 - keep_prob) * outputs[0] - average) < reach
    off = abs(average - right) > reach
    yield from first(
        found(off and together, "shared-by-units", "In each sample all units are kept or dropped "
              "together. Each unit needs its own draw."),
        found(off, "mean-off", f"With 4 hidden units and keep_prob={keep_prob:g} your averages "
              f"have the mean {average:.4f}; over all masks it is {right:.4f}. Each sample needs "
              "one mask with a draw for each unit, and the output of the whole."),
    )  # fmt: skip


def one_unit(run, data, keep_prob, h, w, n, calls=120):
    """With one hidden unit an output has two values; an average tells how often it was kept."""
    b, rng = 0.6, np.random.default_rng(data)
    given = {"hidden": np.array([h]), "weights": np.array([w]), "bias": b, "keep_prob": keep_prob}
    try:
        pairs = [run(n_samples=n, rng=rng, **given) for _ in range(calls)]
    except Missed as missed:
        if missed.idea != "not-finite" or "standard_error" not in str(missed):
            raise
        raise Missed("standard_error is NaN, as the scatter of a single number is: every sample "
                     "needs a mask of its own.", "one-mask") from None  # fmt: skip
    means, errors = np.transpose(pairs)

    def number_kept(y0, y1, n=n, means=means):
        """How many of n numbers were y1, and the others y0; None where that can't be."""
        k = (means - y0) / (y1 - y0) * n
        fits = np.abs(k - np.rint(k)).max() < 1e-3 and k.min() > -0.5 and k.max() < n + 0.5
        return np.rint(k) if fits else None

    def two(y):
        return y(np.array([[0], [1]]), np.array([h * w]), b, keep_prob)

    y0, y1 = sigmoid(-b), sigmoid(h * w - b)
    k = number_kept(y0, y1)
    if k is None:
        with np.errstate(all="ignore"):
            inside = np.log(means / (1 - means)) + b
        others = (n - 1, n + 1, 100, 500, 1000, 2000, 5000, 10_000)
        yield from first(
            found(number_kept(0, h * w, means=inside) is not None
                  or np.allclose(inside, keep_prob * h * w, rtol=1e-3),
                  "averaged-before-activation", BEFORE),
            *(found(number_kept(*two(y)) is not None, name, sentence)
              for name, (sentence, *ys) in UNIT.items() for y in ys),
            found(np.allclose(means, keep_prob * y1 + (1 - keep_prob) * y0, rtol=1e-4),
                  "exact-mean", "This is the exact mean. Sample masks, and average."),
            found(number_kept(y0, y1, means=errors) is not None, "swapped",
                  "The two are swapped: return mean, standard_error."),
            found(any(number_kept(y0, y1, n=m) is not None for m in others)
                  or number_kept(y0, y1, means=means / n) is not None, "ignores-n_samples",
                  f"Your averages are not those of n_samples={n} outputs. How many masks do you "
                  "draw, and by what do you divide?"),
            found(True, "average-off",
                  f"With one hidden unit an output is {y0:.4f} or {y1:.4f}; no average of {n} such "
                  f"numbers is {means[0]:.6f}. Average sigmoid(w . (m h) - b) over the masks."),
        )  # fmt: skip
        return
    share = k.mean() / n
    label, text = alternative(share, keep_prob, n * calls)
    ratio = ((k - n * share) ** 2).sum() / max(n * share * (1 - share), 1e-9)
    low, high = stats.chi2.ppf([RARE, 1 - RARE], calls - 1)
    yield from first(
        found(np.isin(k, (0, n)).all() and np.ptp(k) > 0, "one-mask",
              "The average is the output of a single mask: every sample needs one of its own."),
        found(np.isin(2 * k, (0, n, 2 * n)).all() and np.ptp(k) > 0, "median",
              "This is a median of the outputs. Take their mean."),
        fresh(lambda rng: np.array(run(n_samples=25, keep_prob=0.5, rng=rng, **UNITS))),
        found(label, label,
              f"Your masks kept {share:.1%} of the units, with keep_prob={keep_prob:g}: {text}"),
        found(ratio < low, "too-even", "Your averages scatter less than those of independent "
              "samples: is the number of units kept fixed, has each mask its opposite, or is "
              "one that was drawn twice counted once? Then the error is another one."),
        found(ratio > 1.1 * high or np.gcd.reduce(k.astype(int)) > 1, "shared-by-samples",
              "Your averages scatter more than those of independent samples: some samples share a "
              "mask. Every sample needs a mask of its own."),
        wrong_errors(errors, k, (y1 - y0, h * w), keep_prob, n, means),
    )  # fmt: skip


def wrong_errors(errors, k, sizes, keep_prob, n, means):
    """Whether standard errors belong to the averages, of which k of n outputs are the larger."""
    size, of_z = map(abs, sizes)

    def sd_of(k, ddof=1):
        return size * np.sqrt(k * (n - k) / n / (n - ddof))

    sd, by_n, root, coin = sd_of(k), sd_of(k, 0), math.sqrt(n), keep_prob * (1 - keep_prob)
    # fmt: off
    kinds = {
        "standard-deviation": ("This is the standard deviation of one sample. The error of "
            "their mean is smaller by the square root of their number.",
            [sd, by_n, sd**2, by_n**2]),
        "not-the-root-of-n": ("The standard error falls as 1 over the square root of the number "
            "of samples: it is the standard deviation divided by sqrt(n_samples).",
            [sd / n, sd**2 / n, by_n / n, by_n**2 / n]),
        "ddof": ("The standard deviation divides by n. From a sample take n - 1: std(ddof=1).",
            [by_n / root]),
        "n-1-twice": ("n - 1 belongs to the standard deviation alone; that is divided by "
            "sqrt(n_samples).", [sd / math.sqrt(n - 1)]),
        "interval": ("An interval is not asked for: return the standard error itself, not twice "
            "as much.",
            [f * s / root for f in (1.96, 2, stats.t.ppf(0.975, n - 1)) for s in (sd, by_n)]),
        "bernoulli": ("sqrt(y (1 - y) / n) is the error of a share of zeros and ones. Outputs "
            "lie between: take their standard deviation.", [np.sqrt(means * (1 - means) / n)]),
        "of-other-numbers": ("The standard error is that of the masks, or of the "
            "pre-activations. It is the outputs that you average: take their standard deviation.",
            [s / size * other / root for s in (sd, by_n) for other in (1, of_z)]),
        "exact-error": ("This is the exact standard error. Estimate it from the samples that "
            "you averaged: their standard deviation, divided by sqrt(n_samples).",
            [size * math.sqrt(coin / n), math.sqrt(coin / n), math.sqrt(coin)]),
    }
    # fmt: on

    def fits(wanted):
        return np.allclose(errors, wanted, rtol=1e-3, atol=1e-6)

    if fits(sd / root):
        return
    possible = sd_of(np.arange(n + 1)) / root
    other = np.isclose(errors[:, None], possible, rtol=1e-3, atol=1e-6).any(1).all()
    i = int(np.abs(errors - sd / root).argmax())
    yield from first(
        *(found(any(map(fits, values)), name, text) for name, (text, values) in kinds.items()),
        found(other, "other-samples", "The standard error is that of other samples than the "
              "average: draw the masks once, and take mean and standard deviation of the same "
              "outputs."),
        found(True, "error-off", f"With {k[i]:.0f} outputs of {n} larger than the others by "
              f"{size:.4f} the standard error is {sd[i] / root:.5f}, yours is {errors[i]:.5f}: "
              "std(ddof=1) / sqrt(n_samples)."),
    )  # fmt: skip


@exercise(
    returns=(Number("The mean", "mean"), Number("standard_error", "standard_error")),
    traits=average_traits,
    done="near the exact mean, its error falls as 1/sqrt(n_samples).",
)
def mc_average(hidden, weights, bias, keep_prob, n_samples, rng):
    """Average output over sampled masks, and its standard error."""
    if n_samples < 2:
        raise ValueError(n_samples)
    masks = rng.random((n_samples, len(hidden))) < keep_prob
    outputs = sigmoid(masks * hidden @ weights - bias)
    return outputs.mean(), outputs.std(ddof=1) / math.sqrt(n_samples)
