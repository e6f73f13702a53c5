"""Checks of the exercises on normalization."""

import contextlib
import math
import os
from collections import OrderedDict

import numpy as np
from scipy.special import comb
from scipy.special import expit as sigmoid

from lib.checks.engine import Array, Missed, Number, call, exercise, found, summary_of, varied
from lib.checks.traits import SIGMAS, alternative, coins, factor, first, fresh, layer, torch_seeded
from lib.masks import all_masks, mask_probabilities

summary = summary_of("normalization")

# fmt: off
INVERTED = {  # from the factors in training and at prediction
    ("1", "1"): ("no-scale", "Nothing is scaled, or something undoes it: the mean falls to "
        "keep_prob times itself. Divide what is kept by keep_prob."),
    ("keep_prob", "1"): ("times-keep", "Kept units are multiplied by keep_prob. The mask has "
        "already lowered the mean to keep_prob times itself: divide, to restore it."),
    ("1/keep_prob^2", "1"): ("divided-twice", "Kept units are divided by keep_prob twice, so the "
        "mean grows to 1/keep_prob times itself. Once is enough; torch's dropout does it itself."),
    ("1/(1 - keep_prob)", "1"): ("factor-of-drop", "The factor is 1/(1 - keep_prob): that is for "
        "those who write p for the probability to drop. With the one to keep it is 1/keep_prob."),
    ("sqrt(1/keep_prob)", "1"): ("root", "Kept units are divided by the root of keep_prob. That "
        "keeps the mean SQUARE. It is the mean that must stay: keep_prob * a = 1."),
    ("1", "keep_prob"): ("original-rule", "The scale is in the wrong phase: the original rule "
        "scales at prediction. The inverted one divides by keep_prob in training, so that "
        "prediction has nothing to do."),
    ("1/keep_prob", "keep_prob"): ("scaled-twice", "The scale is there twice: training already "
        "divides by keep_prob, so prediction needs no factor."),
    (None, "1"): ("another-factor", "What is kept has another factor than 1/keep_prob, or several. "
        "Divide by keep_prob, not by the share that happened to be kept."),
}
IN_TORCH = INVERTED | {"mask-at-prediction": "Neither F.dropout nor an nn.Dropout made inside "
    "forward hears of eval(): pass training=self.training."}
# fmt: on


class Network:
    """A network of torch or Keras, as it is."""

    what = short = "net"

    def read(self, result, case):
        if not hasattr(result, "state_dict"):
            raise Missed(f"A network must be returned, not a {type(result).__name__}.", "no-net")
        return result


def noise(ratios):
    """Whether nothing is dropped, and yet not all has one factor."""
    yield from found(
        ratios.all() and not np.allclose(ratios, ratios.flat[0], rtol=1e-3), "not-zero",
        "Nothing is 0, and yet not all is kept as it is. What is dropped is 0; what is kept has "
        f"one factor. Yours have several, between {ratios.min():.4g} and {ratios.max():.4g}.",
    )  # fmt: skip


def scaled_layer(run, units, keep_prob, sentences):
    """Findings of an inverted layer: ``run(phase, rng)`` is what it makes of `units`."""
    rng = np.random.default_rng(3)
    few, test = np.array([run("train", rng) for _ in range(3)]), run("test", rng)
    unmasked = test.all() or np.array_equal(test == 0, units < 0)
    yield from first(
        found(unmasked and factor(test, units) is None, "other-function",
              "At prediction units are changed, and not by one factor. Is there an activation, a "
              "sum or a draw that is not asked for?"),
        noise(few / units),
        layer(run, units, keep_prob, ("1/keep_prob", "1"), sentences),
    )  # fmt: skip


def masks_behind(ratios, keep_prob, axes, **settings):
    """Findings of what a layer of a framework makes of each unit, in training."""
    yield from first(
        noise(ratios),
        coins(ratios != 0, keep_prob, axes, **settings),
        found(not np.allclose(ratios[ratios != 0] * keep_prob, 1, rtol=1e-3), "another-factor",
              "In training what is kept has another factor than 1/keep_prob. A dropout layer "
              "scales by itself: nothing is to be added."),
    )  # fmt: skip


def seeded(look, *settings):
    """Traits of a network of torch: what ``look(run, data, *each)`` finds, for each setting."""

    def traits(run, data):
        with torch_seeded(0):
            yield from first(*(look(run, data, *each) for each in settings))

    return traits


# A mask of mean 1


def mask_traits(run, data):
    def of(keep_prob, *shape):
        units = np.ones((shape[0], math.prod(shape[1:])))

        def phase_of(phase, rng):
            mask = run(shape=shape, keep_prob=keep_prob, rng=rng).reshape(units.shape)
            return mask if phase == "train" else units

        return scaled_layer(phase_of, units, keep_prob, INVERTED)

    sizes = of(0.8, 100, 40), of(0.3, 50, 70), of(0.25, 400, 4), of(0.6, 12, 8, 10)
    yield from first(*sizes) or found((run(shape=(7,), keep_prob=1.0) != 1).any(), "keep-prob-1",
                                      "With keep_prob=1 the mask is all 1.")  # fmt: skip


@exercise(returns=Array("The mask", lambda shape: shape, "It has the shape that is asked for."),
          traits=mask_traits, done="0 or 1/keep_prob, mean 1, fresh at each call.")  # fmt: skip
def inverted_mask(shape, keep_prob, rng):
    """Zeros and 1/keep_prob, the latter with probability `keep_prob`."""
    return (rng.random(shape) < keep_prob) / keep_prob


# Two phases


def phases_traits(run, data):
    def of(keep_prob, *shape):
        given = {"act": data.normal(size=shape), "keep_prob": keep_prob}
        return scaled_layer(lambda phase, rng: run(**given, phase=phase, rng=rng), given["act"],
                            keep_prob, INVERTED)  # fmt: skip

    act = np.ones((3, 4))
    yield from first(of(0.8, 100, 40), of(0.3, 120, 25)) or found(
        not np.allclose(run(act=act, keep_prob=1.0, phase="train"), act), "keep-prob-1",
        "With keep_prob=1 training changes nothing.")  # fmt: skip


@exercise(returns=Array("The output", lambda act: act.shape, "It has the shape of act."),
          traits=phases_traits, phases=lambda data: {"act": np.ones((3, 4)), "keep_prob": 0.5},
          done="scaled in training, the identity at prediction.")  # fmt: skip
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
        layers, pairs = case["layers"], []
        with contextlib.suppress(TypeError, ValueError):
            pairs = [[np.asarray(part, float) for part in pair] for pair in result]
        if [[*map(np.shape, pair)] for pair in pairs] != [[*map(np.shape, old)] for old in layers]:
            raise Missed(f"Return a list of {len(layers)} pairs (weights, bias), one for each "
                         "layer, with the shapes of the old ones.", "no-pairs")  # fmt: skip
        x = np.random.default_rng(0).normal(size=(5, layers[0][0].shape[1]))
        for k, (weights, bias) in enumerate(pairs):
            x = (sigmoid(x) if k else x) @ weights.T - bias
        return x


def fold_cases(data):
    def network(sizes, *keep_probs):
        pairs = zip(sizes[:-1], sizes[1:], strict=True)
        layers = [(2 * data.normal(size=(n, m)), data.normal(size=n)) for m, n in pairs]
        return {"layers": layers, "keep_probs": [*keep_probs]}

    one, four = network((4, 6, 5, 3), 0.8, 0.5), network((3, 4, 6, 5, 2), 0.9, 0.2, 0.7)
    return [one, one | {"keep_probs": [0.3, 0.5]}, network((2, 7, 3), 0.3), four,
            network((4, 4, 4), 1.0), network((3, 5))]  # fmt: skip


@exercise(
    returns=Predictions(), cases=fold_cases, done="the same predictions, with no factor left.",
    otherwise="It must be what the old one predicts with its activations times keep_prob. Each "
    "factor goes into the weights of the layer after it, once.",
)  # fmt: skip
def fold_into_weights(layers, keep_probs, *, place=lambda k: [1, *k], of=lambda k: k,
                      on_weights=lambda f: f, on_bias=lambda f: 1):  # fmt: skip
    """Scale the weights that lead out of units that were dropped."""
    factors = place([of(keep_prob) for keep_prob in keep_probs])
    return [(on_weights(f) * w, on_bias(f) * b) for f, (w, b) in zip(factors, layers, strict=True)]


# fmt: off
wrong = fold_into_weights.wrong
wrong("into-units", "Weights that lead INTO units dropped have a factor. It scales what these "
      "units say, so it belongs to the weights that lead out, those of the next layer, alone.",
      *varied("place", lambda k: [*k, 1], lambda k: (k[:1] or [1]) + k,
              lambda k: [a * b for a, b in zip([1, *k], [*k, 1], strict=True)]))
wrong("bias-scaled", "The biases have a factor. Dropout scaled the activations: the weights that "
      "multiply them take it over, and the biases stay as they are.",
      *varied("on_bias", lambda f: f, lambda f: 1 / f),
      {"on_weights": lambda f: 1, "on_bias": lambda f: f})
wrong("divided", "The weights are divided by keep_prob. In training a share keep_prob of the units "
      "spoke, at prediction all do: multiply.", {"of": lambda k: 1 / k})
wrong("reversed", "The keep_probs are the wrong way round: keep_probs[0] is that of the first "
      "hidden layer.", {"place": lambda k: [1, *k[::-1]]})
wrong("drop-for-keep", "The factor is 1 - keep_prob, or 1 over it: did you take keep_prob for the "
      "probability to drop?", *varied("of", lambda k: 1 - k, lambda k: 1 / (1 - k)))
wrong("root", "The factor is the root of keep_prob, or its square. The activations had keep_prob "
      "itself, once.", *varied("of", lambda k: k**0.5, lambda k: k**2))
wrong("piled-up", "The factors pile up from layer to layer. No factor goes through the sigmoid "
      "between two layers: each acts once, on the weights right after its units.",
      *varied("place", lambda k: np.cumprod([1, *k]), lambda k: [1] * len(k) + [math.prod(k)]))
wrong("one-keep-prob", "One keep_prob is used for all layers. Each hidden layer has its own.",
      *varied("place", lambda k: [1] + k[:1] * len(k), lambda k: [1] + k[-1:] * len(k)))
wrong("some-layers", "Some layers got no factor: every layer but the first has dropped units "
      "before it, the last one too.",
      *varied("place", lambda k: [1] + k[:-1] + [1] * len(k[-1:]),
              lambda k: [1] + k[:1] + [1] * len(k[1:]), lambda k: [1] * len(k) + (k[-1:] or [1])))
# fmt: on


# The exact mean

# fmt: off
UNIT = {  # what may stand for sigmoid(m @ s - b), with masks m and shares s = hidden * weights
    "scaled-masks": ("The masks are scaled. In this exercise they hold zeros and ones.",
        lambda m, s, b, p: sigmoid(m @ s / p - b)),
    "bias-added": ("The bias is subtracted in this exercise: sigmoid(w . (m h) - b).",
        lambda m, s, b, p: sigmoid(m @ s + b)),
    "other-activation": ("The nonlinearity is another one, or missing: the unit says sigmoid(w "
        ". (m h) - b).", lambda m, s, b, p: m @ s - b, lambda m, s, b, p: np.tanh(m @ s - b)),
}
BEFORE = ("The average is taken before the nonlinearity: this is weight scaling, which only "
    "approximates the mean. Compute the output for each mask, then average the outputs.")


def both(weigh):
    """Weights of the masks, as they are and made to add up to 1."""
    return varied("chance", weigh, lambda m, p: weigh(m, p) / max(weigh(m, p).sum(), 1e-300))


MEANS = [  # what may stand for the mean over masks: other weights, or another combination
    ("equally", "All masks count the same. They are equally likely for keep_prob=0.5 only: "
        "weight each by its probability, keep_prob^kept * (1 - keep_prob)^dropped.",
        {"chance": lambda m, p: np.full(len(m), 1 / len(m))}),
    ("drop-for-keep", "The probabilities are those of dropping: did you take keep_prob for the "
        "probability to drop? A mask of k ones among n has keep_prob^k * (1 - keep_prob)^(n - k).",
        *varied("chance", lambda m, p: np.where(m, 1 - p, p).prod(1),
                lambda m, p: mask_probabilities(m, 1 - p))),
    *((f"mask-that-{which}-all-missing", f"The mask that {which} every unit is missing. There are "
        "2^n masks, that one too.", *both(lambda m, p, k=k: (m != k).any(1) *
        mask_probabilities(m, p))) for k, which in enumerate(("drops", "keeps"))),
    ("no-dropped", "Half of a mask's probability is missing. It is a product over all units: "
        "keep_prob for each that is kept, 1 - keep_prob for each that is dropped.",
        *both(lambda m, p: p ** m.sum(1)), *both(lambda m, p: (1 - p) ** (1 - m).sum(1))),
    ("binomial", "The weights hold a binomial coefficient: that is the probability of k units in "
        "all. Each of the masks with k ones is in the list, and counts once.",
        *both(lambda m, p: comb(m.shape[1], m.sum(1)) * mask_probabilities(m, p))),
    ("numbers-kept", "The weights are the numbers of units kept, not probabilities.",
        *both(lambda m, p: m.sum(1))),
    ("averaged-once-more", "Weighted by their probabilities the outputs are summed, not averaged "
        "once more: the probabilities already add up to 1.",
        {"combine": lambda c, y: c @ y / len(y)}),
    ("sum", "This is a sum of outputs. Weight each by the probability of its mask.",
        {"combine": lambda c, y: y.sum(0)}),
    ("geometric", "This is a geometric mean. The mean is a sum: probability times output.",
        {"combine": lambda c, y: np.exp(c @ np.log(np.abs(y)))}),
]
# fmt: on


def mean_cases(data):
    cases = [{"hidden": data.uniform(0.5, 2, n), "weights": 2 * data.normal(size=n),
              "bias": float(data.uniform(0.5, 2)), "keep_prob": keep_prob}
             for n, keep_prob in ((4, 0.8), (5, 0.3), (3, 0.5), (1, 0.4), (3, 1.0))]  # fmt: skip
    others = {"hidden": -cases[0]["hidden"], "weights": cases[0]["weights"][::-1].copy(),
              "bias": -0.7, "keep_prob": 0.3}  # fmt: skip
    return cases + [cases[0] | {name: value} for name, value in others.items()]


@exercise(
    returns=Number("The mean"), cases=mean_cases,
    otherwise="Sum probability times output over all masks: no sample, no approximation.",
    chance="Two calls gave different means: are masks drawn at random? There are few enough to "
    "list them all.",
    done="every mask counted, each with its probability.",
)  # fmt: skip
def exact_mean(hidden, weights, bias, keep_prob, *, chance=mask_probabilities,
               combine=lambda c, y: c @ y, y=lambda m, s, b, p: sigmoid(m @ s - b)):  # fmt: skip
    """Mean output over all masks, each with its probability."""
    masks = all_masks(len(hidden))
    return combine(chance(masks, keep_prob), y(masks, hidden * weights, bias, keep_prob))


for name, (sentence, *outputs) in UNIT.items():
    exact_mean.wrong(name, sentence, *varied("y", *outputs))
for each in MEANS:
    exact_mean.wrong(*each)
exact_mean.wrong("averaged-before-activation", BEFORE, lambda h, w, b, p: sigmoid(p * h @ w - b))


# Dropout as a function, in torch


def one_net(run, data, keep_prob, n_units):
    """Let all hidden units of a network speak, and reach its outputs as they are."""
    import torch

    x, shape = torch.from_numpy(data.uniform(-1, 1, size=(400, 4))).float(), (400, n_units + 3)
    net = run(n_inputs=4, n_units=n_units, n_outputs=shape[1], keep_prob=keep_prob).eval()
    sizes = [getattr(getattr(net, name, None), "weight", x).shape for name in ("hidden", "out")]
    if sizes != [(n_units, 4), (shape[1], n_units)]:
        raise Missed("The check needs a network with the layers self.hidden and self.out, as the "
                     "exercise has them.", "no-net")  # fmt: skip

    def output():
        y = call(net.forward, x=x)
        if getattr(y, "shape", None) != shape:
            raise Missed(f"forward must return a tensor of shape {shape}.", "shape")
        return y

    y, wanted = output(), net.out(torch.relu(net.hidden(x)))
    with torch.no_grad():
        net.hidden.bias += 5
        net.out.weight.copy_(torch.eye(*net.out.weight.shape))
        net.out.bias.fill_(1.5)
        units = torch.relu(net.hidden(x)).numpy()

    def drawn(phase, rng):
        net.train(phase == "train")
        torch.manual_seed(int(rng.integers(2**31)))
        said = output()[:, :n_units].detach().numpy() - 1.5
        return np.where(np.abs(said) < 1e-6, 0, said)

    def gradient():
        """With a sum as the loss, a hidden bias gets a factor from each example that kept it."""
        y, off = net.train() and output()[:, :n_units], True
        with contextlib.suppress(RuntimeError, TypeError):
            y.sum().backward()
            off = not np.allclose(net.hidden.bias.grad, (y != 1.5).sum(0) / keep_prob, rtol=1e-3)
        yield from found(off, "no-gradient", "The gradient does not get through to the hidden "
                         "layer as it should. Leave out detach(), no_grad() and inplace=True: the "
                         "network has to learn.")  # fmt: skip

    yield from first(
        found((drawn("train", data) == -1.5).mean() > 0.1, "output-dropped",
              "What self.out returns is dropped. Dropout belongs to the hidden units; a dropped "
              "output would be a wrong answer, not noise."),
        scaled_layer(drawn, units, keep_prob, IN_TORCH),
        found(not torch.allclose(y, wanted, atol=1e-5), "other-network", "After eval() the network "
              "must say out(relu(hidden(x))). Is the ReLU missing, or is something done to what "
              "self.out returns?"),
        gradient(),
    )  # fmt: skip


@exercise(returns=Network(), traits=seeded(one_net, (0.8, 50), (0.3, 40)),
          done="torch told to drop 1 - keep_prob, and off after eval().")  # fmt: skip
def functional_net(n_inputs, n_units, n_outputs, keep_prob):
    """A network that hands torch the probability to drop."""
    from torch import nn  # here, so that the other checks do without it

    hidden, out = nn.Linear(n_inputs, n_units), nn.Linear(n_units, n_outputs)
    layers = {"hidden": hidden, "relu": nn.ReLU(), "drop": nn.Dropout(1 - keep_prob), "out": out}
    return nn.Sequential(OrderedDict(layers))


# The slides' network, in Keras


def one_keras_net(run, data, shape, n_units, keep_probs):
    """Compare a network, without dropout, with the right one; then let all units say 1."""
    os.environ.setdefault("KERAS_BACKEND", "torch")  # as in the notebook, before the import
    import keras

    model = run(shape=shape, n_units=n_units, keep_probs=keep_probs)
    right = keras_net.right(shape, n_units, keep_probs)
    shapes = [[weights.shape for weights in net.get_weights()] for net in (model, right)
              if isinstance(net, keras.Model)]  # fmt: skip
    if len(shapes) < 2 or shapes[0] != shapes[1]:
        raise Missed(f"Return a keras.Sequential, from keras.Input on. With shape={shape} and "
                     f"n_units={n_units} the shapes of its weights are {shapes[-1]}.",
                     "other-layers")  # fmt: skip
    right.set_weights(model.get_weights())
    x = data.normal(size=(100, *shape)).astype("float32")
    y, again, wanted = (keras.ops.convert_to_numpy(net(x)) for net in (model, model, right))
    model.set_weights([np.full(each.shape, each.ndim == 1) for each in model.get_weights()])

    def leaves(layers):
        for each in layers:
            yield from leaves(each.layers) if hasattr(each, "layers") else [each]

    def inputs_of_dense():
        h = x
        for each in leaves(model.layers):
            if isinstance(each, keras.layers.Dense):
                yield keras.ops.convert_to_numpy(h)
            h = h if isinstance(each, keras.layers.InputLayer) else each(h, training=True)
        yield keras.ops.convert_to_numpy(h)

    inputs, *hidden, outputs = map(np.array, zip(*(inputs_of_dense() for _ in range(4)),
                                                 strict=True))  # fmt: skip
    say = {"no-mask": "Behind a hidden dense layer nothing is dropped. Each has a Dropout layer of "
           "its own."}  # fmt: skip
    yield from first(
        found(not np.array_equal(y, again), "mask-at-prediction",
              "Two predictions for the same images differ. Leave it to Keras when to drop: a layer "
              "that is called with training=True drops at prediction, too."),
        found(not np.allclose(y, wanted, rtol=1e-3, atol=1e-5), "other-network",
              "Without dropout your network computes something else. Is a ReLU missing, or the "
              "softmax at the end?"),
        found((inputs == 0).any() or (outputs == 0).any(), "other-place", "What reaches the first "
              "dense layer is dropped, or the output. Dropout belongs behind each hidden dense "
              "layer; a dropped output is a wrong answer, not noise."),
        *(masks_behind(h, keep_prob, ("call", "example", "unit"), sentences=say)
          for h, keep_prob in zip(hidden, keep_probs, strict=True)),
    )  # fmt: skip


@exercise(
    returns=Network(),
    traits=seeded(one_keras_net, ((5, 4, 3), [60, 40], [0.8, 0.3]),
                  ((3, 6, 1), [40, 30, 50], [0.6, 0.9, 0.2])),
    done="rate 1 - keep_prob behind each hidden dense layer, none behind the output.",
)  # fmt: skip
def keras_net(shape, n_units, keep_probs):
    """The slides' network, for images of a shape."""
    from keras import Input, Sequential
    from keras.layers import Conv2D, Dense, Dropout, Flatten

    hidden = [layer for n, keep_prob in zip(n_units, keep_probs, strict=True)
              for layer in (Dense(n, activation="relu"), Dropout(1 - keep_prob))]  # fmt: skip
    return Sequential([Input(shape), Conv2D(32, (3, 3), activation="relu"), Flatten(), *hidden,
                       Dense(10, activation="softmax")])  # fmt: skip


# A script to repair


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
        net, given = run(x_train=x[:80], y_train=y[:80], x_test=x[80:], keep_prob=keep_prob,
                         epochs=4)  # fmt: skip
    finally:
        handle.remove()
    passes = [log[i : i + 3] for i, (h, *_) in enumerate(log) if h.shape[-1] == 6]
    predictions = [each for each in passes if torch.equal(each[0][0], x[80:])]
    steps = [one for one, two in zip(passes, passes[1:], strict=False)
             if not torch.equal(one[0][2], two[0][2])]  # fmt: skip
    if not predictions or not steps or len(log) != 3 * len(passes):
        raise Missed("The check needs the script's network with its three nn.Linear layers, "
                     "trained on minibatches of x_train, then called on x_test.",
                     "no-training")  # fmt: skip

    def ratios(some, k):
        """What reaches a layer after hidden layer k, by what a unit that spoke had said."""
        units = torch.cat([each[k][1] for each in some])
        return (torch.cat([each[k + 1][0] for each in some])[units > 0] / units[units > 0]).numpy()

    def trained(k):
        silent = sum(ratios([each], k).all() for each in steps)
        yield from first(
            found(silent, "no-mask", f"Behind hidden layer {k + 1} nothing was dropped in {silent} "
                  f"of {len(steps)} training steps. Is the dropout gone, or the network in eval "
                  "mode? After eval() it needs train() again."),
            masks_behind(ratios(steps, k), keep_prob, ("unit",), what=f"units of layer {k + 1}"),
        )  # fmt: skip

    at_prediction = np.concatenate([ratios(predictions[-1:], k) for k in (0, 1)])
    with torch.no_grad():
        logits, again = net.eval()(x[80:]), net(x[80:])
        wanted = logits.softmax(-1).numpy()
    yield from first(
        found(not torch.equal(logits, again), "function-in-eval",
              "After net.eval() two predictions for the same input differ: some dropout does not "
              "hear of eval(). F.dropout is a function: it needs training=self.training."),
        found(not np.allclose(at_prediction, 1, rtol=1e-3), "no-eval", "Units were dropped, or "
              "scaled, while x_test was predicted. Call net.eval() before the prediction; nothing "
              "else is needed there."),
        trained(0),
        trained(1),
        found(not np.allclose(given, wanted, rtol=1e-3, atol=1e-5), "other-probabilities", "The "
              "probabilities are not those that the network gives for x_test in eval mode, a "
              "softmax over the classes."),
    )  # fmt: skip


@exercise(
    returns=(Network(), Array("The array of probabilities", lambda x_test: (len(x_test), 10),
                              short="probabilities")),
    traits=seeded(one_script, (0.8,), (0.3,)),
    done="drops 1 - keep_prob in training, twice, and nothing at prediction.",
)  # fmt: skip
def repaired_script(x_train, y_train, x_test, keep_prob, epochs):
    """Train a network, predict in eval mode."""
    import torch
    from torch import nn

    net = nn.Sequential(
        nn.Linear(x_train.shape[1], 100), nn.ReLU(), nn.Dropout(1 - keep_prob),
        nn.Linear(100, 100), nn.ReLU(), nn.Dropout(1 - keep_prob), nn.Linear(100, 10),
    )  # fmt: skip
    optimizer = torch.optim.SGD(net.parameters(), lr=0.1)
    for _ in range(epochs):
        for rows in torch.randperm(len(x_train)).split(20):
            optimizer.zero_grad()
            nn.functional.cross_entropy(net(x_train[rows]), y_train[rows]).backward()
            optimizer.step()
    return net, net.eval()(x_test).softmax(dim=-1)


# How many masks are enough?

UNITS = {"hidden": np.array([1.0, 0.8, 1.2, 0.9]), "weights": np.array([4.0, -2.0, 5.0, 3.0]),
         "bias": 5.0}  # fmt: skip


def average_traits(run, data):
    def refused(n_samples):
        try:
            run(n_samples=n_samples, raw=True, **UNITS, keep_prob=0.5)
        except Missed as missed:
            return isinstance(missed.__cause__, ValueError)
        return False

    yield from first(
        one_unit(run, data, 0.45, 1.3, 2.0, 24),
        one_unit(run, data, 0.75, 0.7, -3.0, 25),
        several_units(run, data, 0.5, 25),
        several_units(run, data, 0.6, 2),
        found(not refused(1) or not refused(0), "one-sample", "One sample says nothing about how "
              "samples scatter: n_samples=1 must raise a ValueError, and n_samples=0 as well."),
    )  # fmt: skip


def several_units(run, data, keep_prob, n, calls=150):
    rng, masks = np.random.default_rng(data), all_masks(4)
    outputs = sigmoid(masks @ (UNITS["hidden"] * UNITS["weights"]) - UNITS["bias"])
    averages = [run(n_samples=n, keep_prob=keep_prob, rng=rng, **UNITS)[0] for _ in range(calls)]
    chance, average = mask_probabilities(masks, keep_prob), np.mean(averages)
    right = chance @ outputs
    reach = SIGMAS * math.sqrt(chance @ (outputs - right) ** 2 / calls / n)
    yield from found(
        abs(average - right) > reach, "mean-off",
        f"With 4 hidden units and keep_prob={keep_prob:g} your averages have the mean "
        f"{average:.4f}; over all masks it is {right:.4f}. A sample is the output with one mask, "
        "in which each unit has its own draw.",
    )  # fmt: skip


def one_unit(run, data, keep_prob, h, w, n, calls=120):
    """With one hidden unit an output has two values; an average tells how often it was kept."""
    b, rng = 0.6, np.random.default_rng(data)
    given = {"hidden": np.array([h]), "weights": np.array([w]), "bias": b, "keep_prob": keep_prob}
    means, errors = np.transpose([run(n_samples=n, rng=rng, **given) for _ in range(calls)])

    def number_kept(y0, y1, means=means):
        """How many of n numbers were y1, and the others y0; None where that can't be."""
        k = (means - y0) / (y1 - y0) * n
        fits = np.abs(k - np.rint(k)).max() < 1e-3 and k.min() > -0.5 and k.max() < n + 0.5
        return np.rint(k) if fits else None

    y0, y1 = sigmoid(-b), sigmoid(h * w - b)
    k = number_kept(y0, y1)
    if k is None:
        with np.errstate(all="ignore"):
            inside = np.log(means / (1 - means)) + b
        masks, share = np.array([[0], [1]]), np.array([h * w])
        yield from first(
            found(number_kept(0, h * w, inside) is not None
                  or np.allclose(inside, keep_prob * h * w, rtol=1e-3),
                  "averaged-before-activation", BEFORE),
            *(found(number_kept(*y(masks, share, b, keep_prob)) is not None, name, sentence)
              for name, (sentence, *ys) in UNIT.items() for y in ys),
            found(number_kept(y0, y1, errors) is not None, "swapped",
                  "The two are swapped: return mean, standard_error."),
            found(True, "average-off",
                  f"With one hidden unit an output is {y0:.4f} or {y1:.4f}; no average of {n} such "
                  f"numbers is {means[0]:.6f}. Average sigmoid(w . (m h) - b) over n_samples "
                  "masks."),
        )  # fmt: skip
        return
    share = k.mean() / n
    label, text = alternative(share, keep_prob, n * calls)
    ratio = ((k - n * share) ** 2).sum() / max(n * share * (1 - share), 1e-9)  # chi-squared of 119
    yield from first(
        fresh(lambda rng: np.array(run(n_samples=25, keep_prob=0.5, rng=rng, **UNITS))),
        found(label, label,
              f"Your masks kept {share:.1%} of the units, with keep_prob={keep_prob:g}: {text}"),
        found(ratio < 42, "too-even", "Your averages scatter less than those of independent "
              "samples: is the number of units kept fixed, has each mask its opposite, or is "
              "one that was drawn twice counted once? Then the error is another one."),
        found(ratio > 270 or np.gcd.reduce(k.astype(int)) > 1, "shared-by-samples",
              "Your averages scatter more than those of independent samples: some share a mask, or "
              "all do. Every sample needs a mask of its own."),
        wrong_errors(errors, k, abs(y1 - y0), n),
    )  # fmt: skip


def wrong_errors(errors, k, size, n):
    """Whether standard errors are those of k outputs of n that are larger than the others."""
    sd, by_n = (size * np.sqrt(k * (n - k) / n / (n - ddof)) for ddof in (1, 0))
    right, i = sd / math.sqrt(n), int(np.abs(errors - sd / math.sqrt(n)).argmax())
    kinds = (
        ("right", "", right),
        ("standard-deviation", "This is the standard deviation of one sample. The error of their "
         "mean is smaller by the square root of their number.", sd, by_n),
        ("not-the-root-of-n", "Divide the standard deviation, not the variance, by "
         "sqrt(n_samples), not by n_samples.", sd / n, sd**2 / n, by_n / n, by_n**2 / n),
        ("ddof", "The standard deviation divides by n. From a sample take n - 1: std(ddof=1).",
         by_n / math.sqrt(n)),
        ("error-off", f"With {k[i]:.0f} outputs of {n} larger than the others by {size:.4f} the "
         f"standard error is {right[i]:.5f}, yours is {errors[i]:.5f}. It is std(ddof=1) / "
         "sqrt(n_samples), of the outputs that you averaged.", errors),
    )  # fmt: skip
    name, text = next((name, text) for name, text, *values in kinds
                      if any(np.allclose(errors, each, 1e-3, 1e-6) for each in values))  # fmt: skip
    yield from found(name != "right", name, text)


@exercise(
    returns=(Number("The mean", "mean"), Number("standard_error", "standard_error",
             infinite="Does every sample have a mask of its own? One alone has no scatter.")),
    traits=average_traits,
    done="near the exact mean, its error falls as 1/sqrt(n_samples).",
)  # fmt: skip
def mc_average(hidden, weights, bias, keep_prob, n_samples, rng):
    """Average output over sampled masks, and its standard error."""
    if n_samples < 2:
        raise ValueError(n_samples)
    masks = rng.random((n_samples, len(hidden))) < keep_prob
    outputs = sigmoid(masks * hidden @ weights - bias)
    return outputs.mean(), outputs.std(ddof=1) / math.sqrt(n_samples)
