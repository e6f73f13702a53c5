"""Checks of the exercises on normalization."""

import math
import warnings

import numpy as np
from scipy.special import expit as sigmoid

from lib.checks.common import (
    BY_SHARE,
    as_array,
    as_number,
    call,
    check_fresh,
    check_kept,
    check_phases,
    check_unknown_phase,
    expect,
)
from lib.masks import all_masks, mask_probabilities

SLIP = (
    "The factor is 1/(1 - keep_prob). That is the formula of those who write p for the probability "
    "to drop; with the probability to keep it is 1/keep_prob."
)
TIMES_KEEP = (
    "Kept units are multiplied by keep_prob, which makes small activations smaller still. The mask "
    "has already lowered the mean to keep_prob times itself: scale by 1/keep_prob to restore it."
)
TWICE = (
    "Kept units are divided by keep_prob squared, so the mean grows to 1/keep_prob times itself: "
    "did you divide by keep_prob twice?"
)
NO_SCALE = (
    "The mask is right, but nothing is scaled: the mean falls to keep_prob times itself. Divide "
    "what is kept by keep_prob."
)


def inverted_mask(student):
    """Check a function that draws a mask of mean 1.

    Parameters
    ----------
    student : callable
        ``inverted_mask(shape, keep_prob, rng)``, returning 0 and 1/keep_prob.

    Raises
    ------
    AssertionError
        Naming what is wrong: the factor, a shared mask, keep and drop mixed up, or a mask that
        does not come fresh from `rng`.
    """
    __tracebackhide__ = True
    shape = (400, 50)

    def draw(rng, keep_prob=0.8, shape=shape):
        __tracebackhide__ = True
        mask = call(student, shape=shape, keep_prob=keep_prob, rng=rng)
        return as_array(mask, shape, "The mask", "It has the shape that is asked for.")

    for keep_prob in (0.8, 0.3):
        mask = draw(np.random.default_rng(0), keep_prob)
        kept = mask != 0
        check_kept(kept, keep_prob)
        value, *others = np.unique(mask[kept])
        expect(not others, f"Kept units have several values, {value:.4g} and others. {BY_SHARE}")
        expect(
            math.isclose(value, 1 / keep_prob, rel_tol=1e-6)
            or not math.isclose(value, 1 / keep_prob, rel_tol=0.1),
            f"A kept unit has the value {value:.4g}, near 1/keep_prob but not equal to it. "
            f"{BY_SHARE}",
        )
        for wrong, message in (
            (1, NO_SCALE),
            (keep_prob, TIMES_KEEP),
            (1 / keep_prob**2, TWICE),
            (1 / (1 - keep_prob), SLIP),
        ):
            expect(not math.isclose(value, wrong, rel_tol=1e-6), message)
        expect(
            math.isclose(value, 1 / keep_prob, rel_tol=1e-6),
            f"A kept unit has the value {value:.3g}, so the mask has the mean "
            f"{value * keep_prob:.3g}. It must be 1: which value of the kept ones gives that?",
        )
    check_fresh(draw)
    expect((draw(np.random.default_rng(0), 1.0) == 1).all(), "With keep_prob=1 the mask is all 1.")
    draw(np.random.default_rng(0), shape=(2, 3, 4))
    print("inverted_mask: 0 or 1/keep_prob, mean 1, fresh at each call.")


_INVERTED_RULE = {
    ("1", "keep_prob"): "The scale is in the wrong phase: this is the original rule, which keeps "
    "the mean by scaling at prediction. The inverted one divides by keep_prob in training, so that "
    "prediction has nothing to do.",
    ("1", "1"): NO_SCALE,
    ("1", "1/keep_prob"): "The scale is in the wrong phase: divide by keep_prob in training, where "
    "units are missing, not at prediction, where all are there.",
    ("keep_prob", "1"): TIMES_KEEP,
    ("keep_prob", "keep_prob"): TIMES_KEEP,
    ("1/keep_prob", "keep_prob"): "The scale is there twice: you divide by keep_prob in training "
    "and multiply by it at prediction. After the first the mean is right; leave prediction alone.",
    ("1/keep_prob", "1/keep_prob"): "You divide by keep_prob in both phases. At prediction no unit "
    "is missing, so there is nothing to make up for.",
    ("1/keep_prob^2", "1"): TWICE,
    ("1/(1 - keep_prob)", "1"): SLIP,
}


def dropout2(student):
    """Check inverted dropout in two phases.

    Parameters
    ----------
    student : callable
        ``dropout2(act, keep_prob, phase, rng)``, the slides' alternative for a batch.

    Raises
    ------
    AssertionError
        Naming what is wrong: the phase, the factor, the mask, or an unknown phase let through.
    """
    __tracebackhide__ = True
    act = np.random.default_rng(5).uniform(0.5, 2.0, size=(400, 50))
    keep_prob = 0.8

    def run(phase, rng):
        __tracebackhide__ = True
        y = call(student, act=act, keep_prob=keep_prob, phase=phase, rng=rng)
        return as_array(y, act.shape, "The output", "It has the shape of act.")

    check_phases(run, act, keep_prob, ("1/keep_prob", "1"), _INVERTED_RULE)
    check_unknown_phase(student, act, keep_prob, "predict", np.random.default_rng(0))
    print("dropout2: scaled in training, the identity at prediction.")


def fold_into_weights(student):
    """Check that the factors of the original rule move into the weights.

    Parameters
    ----------
    student : callable
        ``fold_into_weights(layers, keep_probs)``: `layers` is a list of (weights, bias), and
        dropout follows each layer but the last. Returns the same list with the factors in it.

    Raises
    ------
    AssertionError
        Naming what is wrong: incoming weights scaled, biases scaled, a division, the wrong order.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(6)
    sizes, keep_probs = (4, 6, 5, 3), (0.8, 0.5)
    layers = [
        (data.normal(size=(n_out, n_in)), data.normal(size=n_out))
        for n_in, n_out in zip(sizes[:-1], sizes[1:], strict=True)
    ]
    x = data.normal(size=(20, 4))
    result = call(student, layers=layers, keep_probs=keep_probs)
    expect(
        isinstance(result, list | tuple)
        and len(result) == len(layers)
        and all(isinstance(layer, list | tuple) and len(layer) == 2 for layer in result),
        f"Return a list of {len(layers)} pairs (weights, bias), one for each layer.",
    )
    folded = []
    for k, ((weights, bias), (old_weights, old_bias)) in enumerate(
        zip(result, layers, strict=True)
    ):
        weights = as_array(weights, old_weights.shape, f"The weights of layer {k}")
        folded.append((weights, as_array(bias, old_bias.shape, f"The bias of layer {k}")))

    def wrong(weight_factors, bias_factors=(1, 1, 1)):
        return all(
            np.allclose(weights, old_weights * f) and np.allclose(bias, old_bias * g)
            for (weights, bias), (old_weights, old_bias), f, g in zip(
                folded, layers, weight_factors, bias_factors, strict=True
            )
        )

    first, second = keep_probs
    expect(not wrong((1, 1, 1)), "The weights are the old ones: where has the factor gone?")
    expect(
        not wrong((first, second, 1)) and not wrong((first, second, 1), (first, second, 1)),
        "The factors are in the weights that lead INTO the units dropped. They scale what these "
        "units say, so they belong to the weights that lead out: those of the next layer.",
    )
    expect(
        not wrong((1, first, second), (1, first, second)),
        "The biases are scaled too. Dropout scaled the activations that come in; the bias is added "
        "whether units are dropped or not.",
    )
    expect(
        not wrong((1, 1 / first, 1 / second)),
        "The weights are divided by keep_prob. In training a share keep_prob of the units spoke, "
        "at prediction all do: multiply.",
    )
    expect(
        not wrong((1, second, first)),
        "The keep_probs are the wrong way round: keep_probs[0] is that of the first hidden layer.",
    )
    expect(
        not wrong((1, 1 - first, 1 - second)),
        "The factor is 1 - keep_prob: did you take keep_prob for the probability to drop?",
    )
    expect(
        np.allclose(_forward(folded, x, (1, 1)), _forward(layers, x, keep_probs)),
        "The folded network does not predict what the old one does with its activations times "
        "keep_prob. Each factor goes into the weights of the layer after it, once.",
    )
    print("fold_into_weights: the same predictions, with no factor left.")


def _forward(layers, x, factors):
    """A network of sigmoid layers and a linear last one, hidden activations scaled."""
    for (weights, bias), scale in zip(layers[:-1], factors, strict=True):
        x = scale * sigmoid(x @ weights.T - bias)
    weights, bias = layers[-1]
    return x @ weights.T - bias


def exact_mean(student):
    """Check the mean output of a unit over all masks of its inputs.

    Parameters
    ----------
    student : callable
        ``exact_mean(hidden, weights, bias, keep_prob)``, returning the mean of
        sigmoid(weights . (mask * hidden) - bias) over the masks, each with its probability.

    Raises
    ------
    AssertionError
        Naming what is wrong: masks weighted equally, averaging before the nonlinearity, keep and
        drop mixed up, a mask left out.
    """
    __tracebackhide__ = True
    for n, keep_prob in ((6, 0.8), (4, 0.3), (5, 0.5)):
        hidden, weights, bias = _unit(n)
        given = {"hidden": hidden, "weights": weights, "bias": bias, "keep_prob": keep_prob}
        mean = as_number(call(student, **given), "The mean")
        masks = all_masks(n)
        chance = mask_probabilities(masks, keep_prob)
        outputs = sigmoid(masks * hidden @ weights - bias)
        right = chance @ outputs

        def is_(value, mean=mean):
            return math.isclose(mean, value, rel_tol=1e-9)

        expect(
            is_(right) or not is_(outputs.mean()),
            f"All masks count the same. With keep_prob={keep_prob} they are not equally likely: "
            "weight each by its probability, keep_prob^kept * (1 - keep_prob)^dropped.",
        )
        expect(
            is_(right) or not is_(sigmoid(keep_prob * hidden @ weights - bias)),
            "The average is taken before the nonlinearity: this is weight scaling, which only "
            "approximates the mean. Compute the output for each mask, then average the outputs.",
        )
        expect(
            is_(right) or not is_(mask_probabilities(masks, 1 - keep_prob) @ outputs),
            "The probabilities are those of dropping: did you take keep_prob for the probability "
            "to drop? A mask of k ones among n has keep_prob^k * (1 - keep_prob)^(n - k).",
        )
        for gone, which in ((0, "that drops every unit"), (-1, "that keeps every unit")):
            rest = np.delete(np.arange(len(masks)), gone)
            partial = chance[rest] @ outputs[rest]
            expect(
                is_(right) or not (is_(partial) or is_(partial / chance[rest].sum())),
                f"The mask {which} is missing. There are 2^{n} masks, that one among them.",
            )
        expect(
            is_(right) or not is_(chance @ sigmoid(masks * hidden @ weights / keep_prob - bias)),
            "The masks are scaled by 1/keep_prob. In this exercise they hold zeros and ones.",
        )
        expect(
            is_(right) or not is_((chance * outputs).mean()),
            "Weighted by their probabilities the outputs are summed, not averaged once more: the "
            "probabilities already add up to 1.",
        )
        expect(
            is_(right),
            f"For {n} units and keep_prob={keep_prob} the mean over all {2**n} masks is "
            f"{right:.6f}, yours is {mean:.6f}. Sum probability times output over the masks.",
        )
    print("exact_mean: every mask counted, each with its probability.")


def _unit(n):
    """Hidden activations, weights and a bias for which weight scaling is visibly off."""
    hidden = np.array([1.0, 0.8, 1.2, 0.9, 1.1, 0.7])
    weights = np.array([4.0, -2.0, 5.0, 3.0, -1.0, 2.0])
    return hidden[:n], weights[:n], 7.0


def functional_net(student):
    """Check a torch network that calls ``F.dropout`` in its forward pass.

    Parameters
    ----------
    student : type
        ``FunctionalNet(n_inputs, n_units, n_outputs, keep_prob)``, a ``torch.nn.Module`` with the
        linear layers `hidden` and `out` and dropout between them.

    Raises
    ------
    AssertionError
        Naming what is wrong: a mask still on after eval(), keep_prob handed to torch as its p, a
        second scale, dropout in the wrong place.
    """
    __tracebackhide__ = True
    import torch  # here, so that the other checks do without it

    with torch.random.fork_rng():  # leaves the student's generator as it is
        torch.manual_seed(0)
        _check_net(student, torch)
    print("functional_net: torch told to drop 1 - keep_prob, and off after eval().")


def _check_net(student, torch):
    __tracebackhide__ = True
    keep_prob, seen = 0.8, []
    net = call(student, n_inputs=4, n_units=50, n_outputs=3, keep_prob=keep_prob)
    expect(
        isinstance(net, torch.nn.Module)
        and all(isinstance(getattr(net, name, None), torch.nn.Linear) for name in ("hidden", "out"))
        and (net.hidden.out_features, net.out.in_features, net.out.out_features) == (50, 50, 3),
        "The check needs the layers self.hidden and self.out as the exercise has them.",
    )
    with torch.no_grad():
        net.hidden.bias += 5  # every hidden unit speaks
    net.out.register_forward_pre_hook(lambda module, inputs: seen.append(inputs[0]))
    x = torch.from_numpy(np.random.default_rng(7).uniform(-1, 1, size=(400, 4))).float()
    units = torch.relu(net.hidden(x)).detach().numpy().astype(float)

    def forward(x):
        return net(x)

    forward.__name__ = "FunctionalNet.forward"

    def run(phase, rng):
        __tracebackhide__ = True
        net.train(phase == "train")
        torch.manual_seed(int(rng.integers(2**31)))
        seen.clear()
        y = call(forward, x=x)
        expect(
            isinstance(y, torch.Tensor) and y.shape == (400, 3),
            f"forward must return a tensor of shape (400, 3), yours returned "
            f"{tuple(y.shape) if isinstance(y, torch.Tensor) else type(y).__name__}.",
        )
        expect(len(seen) == 1, "forward must pass the hidden units through self.out, once.")
        h = seen[0].detach()
        expect(
            torch.allclose(y, net.out(h)),
            "What self.out returns is changed afterwards. Dropout belongs to the hidden units; "
            "a dropped output would be a wrong answer, not noise.",
        )
        return as_array(h.numpy(), units.shape, "What reaches self.out")

    check_phases(
        run,
        units,
        keep_prob,
        ("1/keep_prob", "1"),
        _IN_TORCH,
        why_still_on=" Neither F.dropout nor an nn.Dropout made inside forward hears of eval(): "
        "pass training=self.training.",
    )


_IN_TORCH = {
    ("1/keep_prob", "keep_prob"): "The scale is there twice: torch already divides by keep_prob in "
    "training, so eval() needs no factor.",
    ("1/keep_prob^2", "1"): "The scale is there twice in training: torch already divides by "
    "keep_prob.",
    (
        "1",
        "1",
    ): "The mean is not kept: torch divides by keep_prob in training, and something undoes that.",
}


def mc_average(student):
    """Check a Monte Carlo average over masks and its standard error.

    Parameters
    ----------
    student : callable
        ``mc_average(hidden, weights, bias, keep_prob, n_samples, rng)``, returning the mean
        output over sampled masks and the standard error of that mean.

    Raises
    ------
    AssertionError
        Naming what is wrong: one mask for all samples, the standard deviation for the standard
        error, averaging before the nonlinearity, keep and drop mixed up, an error that is given
        for one sample.
    """
    __tracebackhide__ = True
    n, keep_prob, n_samples = 6, 0.8, 10_000
    hidden, weights, bias = _unit(n)
    masks = all_masks(n)
    chance = mask_probabilities(masks, keep_prob)
    outputs = sigmoid(masks * hidden @ weights - bias)
    mean = chance @ outputs
    sd = math.sqrt(chance @ (outputs - mean) ** 2)

    def sample(rng, n_samples=n_samples):
        __tracebackhide__ = True
        result = call(
            student,
            hidden=hidden,
            weights=weights,
            bias=bias,
            keep_prob=keep_prob,
            n_samples=n_samples,
            rng=rng,
        )
        expect(
            isinstance(result, list | tuple) and len(result) == 2,
            "Return two numbers: return mean, standard_error.",
        )
        average, error = result
        average = as_number(average, "mean")
        expect(
            not (isinstance(error, float) and math.isnan(error)),
            "standard_error is NaN, as the scatter of a single number is: every sample needs a "
            "mask of its own.",
        )
        return np.array([average, as_number(error, "standard_error")])

    average, error = sample(np.random.default_rng(0))
    reach = 7 * sd / math.sqrt(n_samples)  # so skewed an average strays a little further

    def near(value):
        return abs(average - value) < reach

    expect(
        near(mean) or not np.isclose(outputs, average, atol=1e-9).any(),
        "The average is the output of a single mask: every sample needs a mask of its own.",
    )
    expect(
        near(mean) or not near(sigmoid(keep_prob * hidden @ weights - bias)),
        "The average is taken before the nonlinearity, which amounts to weight scaling. Compute "
        "the output for each sampled mask, then average the outputs.",
    )
    expect(
        near(mean) or not near(mask_probabilities(masks, 1 - keep_prob) @ outputs),
        "This is the average for 1 - keep_prob: did you take keep_prob for the probability to "
        "drop?",
    )
    expect(
        near(mean) or not near(chance @ sigmoid(masks * hidden @ weights / keep_prob - bias)),
        "The masks are scaled by 1/keep_prob. In this exercise they hold zeros and ones.",
    )
    expect(
        near(mean),
        f"The average of {n_samples} samples is {average:.4f}; over all masks it is {mean:.4f}, "
        f"and so many samples should come within {reach:.4f} of it.",
    )
    expect(
        not math.isclose(error, sd, rel_tol=0.2),
        "This is the standard deviation of one sample. The error of their mean is smaller by the "
        "square root of their number.",
    )
    expect(
        not math.isclose(error, sd / n_samples, rel_tol=0.2)
        and not math.isclose(error, sd**2 / n_samples, rel_tol=0.2),
        "The standard error falls as 1 over the square root of the number of samples: it is the "
        "standard deviation divided by sqrt(n_samples).",
    )
    expect(
        math.isclose(error, sd / math.sqrt(n_samples), rel_tol=0.2),
        f"The standard error should be near {sd / math.sqrt(n_samples):.5f}, yours is {error:.5f}.",
    )
    check_fresh(lambda rng: sample(rng, 1000))
    rng = np.random.default_rng(8)
    squared = np.mean([sample(rng, 2)[1] ** 2 for _ in range(2000)])
    expect(
        squared > 0.75 * sd**2 / 2,
        "From two samples, the squared standard error is on average half of what it should be: "
        "the standard deviation divides by n. From a sample take n - 1: std(ddof=1).",
    )
    _check_one_sample_is_refused(student, (hidden, weights, bias, keep_prob))
    print("mc_average: near the exact mean, its error falls as 1/sqrt(n_samples).")


def _check_one_sample_is_refused(student, unit):
    __tracebackhide__ = True
    why = "One sample says nothing about how samples scatter"
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of a division by zero
            student(*unit, 1, np.random.default_rng(0))
    except ValueError:
        return
    except Exception as error:
        raise AssertionError(
            f"{why}: n_samples=1 must raise a ValueError, yours raised "
            f"{type(error).__name__}: {error}"
        ) from error
    raise AssertionError(f"{why}, and yours gave an answer: raise a ValueError for n_samples < 2.")
