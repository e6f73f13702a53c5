"""Checks of the exercises on variants: DropConnect, fast, variational and recurrent dropout."""

import itertools
import math
import warnings

import numpy as np
from scipy import stats
from scipy.special import expit, ndtr

from lib.checks.common import (
    BY_SHARE,
    FACTORS,
    SIGMAS,
    VARIANCES,
    as_array,
    as_number,
    as_pair,
    call,
    check_fresh,
    check_unknown_phase,
    check_value,
    expect,
    farthest,
)
from lib.masks import all_masks
from lib.theory.moments import relu_moments
from lib.theory.variational import MOLCHANOV, kl_molchanov

# DropConnect

ONE_FOR_ALL = (
    "One mask for the whole batch: every example lost the same {0}. Each example needs masks of "
    "its own, so draw an array with a first axis of examples: {1}."
)
DROPS_INPUTS = (
    "In each example all outputs lost the same inputs. That is dropout on the inputs. DropConnect "
    "tosses a coin for each WEIGHT: two outputs may lose different weights of one input. Draw an "
    "array (examples, outputs, inputs)."
)
DROPS_UNITS = (
    "In each example an output lost all of its weights, or none. That is dropout of the units. "
    "DropConnect tosses a coin for each WEIGHT. Draw an array (examples, outputs, inputs)."
)
ACTIVATED = (
    "The output looks like an activation: {}. Return the pre-activation, the masked sum itself; "
    "what follows it is another layer."
)
SCALES = {
    "1": "not scaled: a kept one counts once. With probability keep_prob it is there at all, so "
    "the mean is keep_prob times what it was. Divide by keep_prob.",
    "keep_prob": "multiplied by keep_prob, and masked on top of that. The mask makes the mean "
    "smaller; divide by keep_prob to restore it.",
    "1/keep_prob^2": "divided by keep_prob twice. Once restores the mean.",
    "1/(1 - keep_prob)": "divided by 1 - keep_prob, the probability to drop. The mean of a mask "
    "is keep_prob: divide by that.",
    "1 - keep_prob": "multiplied by 1 - keep_prob. The mean of a mask is keep_prob: divide by "
    "that.",
}


def dropconnect(student):
    """Check a training pass of DropConnect.

    Parameters
    ----------
    student : callable
        ``dropconnect(x, W, b, keep_prob, rng)``, returning the masked pre-activations, scaled by
        1/keep_prob, of shape (examples, outputs).

    Raises
    ------
    AssertionError
        Naming what is wrong: what shares a mask, a bias without mask, the scale, keep and drop
        mixed up, an activation, a seed inside.
    """
    __tracebackhide__ = True
    keep_prob, n, n_outputs, n_inputs = 0.73, 1000, 4, 5

    def draw(rng, x, W, b, keep_prob=keep_prob):
        __tracebackhide__ = True
        result = call(student, x=x, W=W, b=b, keep_prob=keep_prob, rng=rng)
        shape = (len(x), len(W))
        return as_array(result, shape, "The output", "A row an example, a column an output.")

    # With weights 1, 2, 4 ... and inputs of 1, a sum tells which weights are in it.
    x, W = np.ones((n, n_inputs)), np.tile(2.0 ** np.arange(n_inputs), (n_outputs, 1))
    no_bias, rng = np.zeros(n_outputs), np.random.default_rng(0)
    negative, sums = draw(rng, x, -W, no_bias), draw(rng, x, W, no_bias)
    _check_no_activation(negative, sums)
    kept, scale = _read_off(sums, n_inputs, keep_prob)
    _check_weight_masks(kept, keep_prob)
    expect(scale == "1/keep_prob", f"The weights are {SCALES.get(scale)}")
    _check_sums(draw, keep_prob, np.zeros(2))
    _check_bias(draw(rng, np.zeros_like(x), W, np.array([1.0, -2, 3, 5])), keep_prob)
    _check_bias_apart(draw(rng, x, W, no_bias + 2**n_inputs), n_inputs, keep_prob)
    _check_sums(draw, keep_prob, np.array([0.7, -1.3]))
    check_fresh(lambda rng: draw(rng, x, W, no_bias + 1))
    data = np.random.default_rng(1)
    x, W, b = data.normal(size=(6, 3)), data.normal(size=(2, 3)), data.normal(size=2)
    expect(
        np.allclose(draw(rng, x, W, b, 1.0), x @ W.T + b, atol=1e-5),
        "With keep_prob=1 nothing is dropped, and the output is W x + b for each example. "
        "Yours differs.",
    )
    print("dropconnect: a mask for each weight, bias and example; the mean kept.")


def _check_no_activation(negative, sums):
    """Look for an activation, by weights that are all negative, and all positive."""
    __tracebackhide__ = True
    expect(negative.any() or sums.any(), "Everything was dropped: nothing gets through.")
    expect(
        (negative < 0).any() or not (sums > 1).any(),
        ACTIVATED.format("with negative weights alone it is never negative"),
    )
    expect(
        max(np.abs(negative).max(), np.abs(sums).max()) > 1,
        ACTIVATED.format("it never leaves the range from -1 to 1"),
    )


def _read_off(sums, n_weights, keep_prob):
    """Which of the weights 1, 2, 4 ... are in each sum, and by which of FACTORS it is scaled."""
    __tracebackhide__ = True
    for name, factor in FACTORS.items():
        numbers = sums / factor(keep_prob)
        if _whole(numbers) and numbers.min() > -0.1 and numbers.max() < 2**n_weights:
            whole = np.rint(numbers).astype(int)
            return (whole[..., None] >> np.arange(n_weights) & 1).astype(bool), name
    smallest = sums[sums > 1e-6].min(initial=np.inf)
    expect(not (_whole(sums / smallest) and abs(smallest * keep_prob - 1) < 0.1), BY_SHARE)
    raise AssertionError(
        f"With weights 1, 2, 4, 8 and so on, inputs of 1 and keep_prob={keep_prob}, an output must "
        f"be a sum of some of these weights, times 1/keep_prob. Yours has {sums.flat[0]:.4g} "
        "among them. Multiply each weight by a zero or a one of its own, and divide by keep_prob."
    )


def _whole(numbers):
    return np.isfinite(numbers).all() and np.allclose(numbers, np.rint(numbers), rtol=0, atol=2e-3)


def _check_weight_masks(kept, keep_prob):
    """Look at which weights were kept, (examples, outputs, inputs)."""
    __tracebackhide__ = True
    expect(not kept.all(), "No weight was dropped: where is the mask?")
    expect(kept.any(), "Every weight was dropped: nothing gets through.")
    shape = "(examples, outputs, inputs)"
    expect(not (kept == kept[0]).all(), ONE_FOR_ALL.format("weights", shape))
    expect(not (kept == kept[:, :1]).all(), DROPS_INPUTS)
    expect(not (kept == kept[..., :1]).all(), DROPS_UNITS)
    _check_share(kept, keep_prob, "weights")
    expect(
        np.ptp(kept.sum(axis=(1, 2))) > 0,
        "Every example kept the same number of weights. Weights are dropped independently of each "
        "other, so the number varies.",
    )


def _check_share(kept, keep_prob, what):
    __tracebackhide__ = True
    share = kept.mean()
    tolerance = SIGMAS * math.sqrt(keep_prob * (1 - keep_prob) / kept.size)
    expect(
        abs(share - (1 - keep_prob)) > tolerance,
        f"You kept {share:.0%} of the {what}, with keep_prob={keep_prob}: did you take keep_prob "
        "for the probability to drop?",
    )
    expect(
        abs(share - keep_prob**2) > tolerance,
        f"You kept {share:.0%} of the {what}, which is keep_prob squared: are there two masks, "
        "one on top of the other?",
    )
    expect(
        abs(share - keep_prob) < tolerance,
        f"You kept {share:.1%} of the {what}; keep_prob={keep_prob} asks for {keep_prob:.0%}.",
    )


def _check_bias(outputs, keep_prob):
    """Look at the bias alone: the outputs are for inputs of 0."""
    __tracebackhide__ = True
    factors = outputs / np.array([1.0, -2, 3, 5])
    expect(outputs.any(), "With inputs of 0 the output is 0: where is the bias?")
    expect(
        factors.max() > 1e-6,
        "The bias is subtracted, as the slides write it. In this exercise it is added.",
    )
    expect(
        not np.allclose(factors, 1, atol=1e-4),
        "The bias has no mask. DropConnect drops each bias too, with a mask entry of its own for "
        "each example and output.",
    )
    expect(
        not np.allclose(factors, factors.flat[0], atol=1e-4),
        f"The bias is multiplied by {factors.flat[0]:.4g}, but never dropped. It needs a mask, a "
        "zero or a one for each example and output.",
    )
    kept = np.abs(factors) > 1e-6
    expect(
        not (kept == kept[0]).all(),
        ONE_FOR_ALL.format("biases", "(examples, outputs) for the bias"),
    )
    expect(
        not (kept == kept[:, :1]).all(),
        "In each example all biases are kept or dropped together. Each has a mask entry of its "
        "own: draw an array (examples, outputs).",
    )
    _check_share(kept, keep_prob, "biases")
    values = factors[kept]
    names = [n for n, of in FACTORS.items() if np.allclose(values, of(keep_prob), atol=1e-4)]
    expect(names, f"Kept biases must be multiplied by 1/keep_prob; yours by {values[0]:.4g}.")
    expect(names[0] == "1/keep_prob", f"The biases are {SCALES.get(names[0])}")


def _check_bias_apart(sums, n_inputs, keep_prob):
    """Look whether the bias shares its mask with a weight: it counts as one more weight."""
    __tracebackhide__ = True
    kept, _ = _read_off(sums, n_inputs + 1, keep_prob)
    weights, bias = kept[..., :-1], kept[..., -1:]
    expect(
        not (weights == bias).all(axis=(0, 1)).any()
        and not (bias[..., 0] == weights.any(axis=2)).all(),
        "The bias shares a mask entry with a weight. All entries are independent: draw the bias's "
        "mask anew.",
    )


def _check_sums(draw, keep_prob, b):
    """With inputs that differ, every output must belong to one of the possible masks."""
    __tracebackhide__ = True
    data = np.random.default_rng(2)
    x, W = data.normal(size=(200, 3)), data.normal(size=(2, 3))
    terms = np.concatenate([x[:, None] * W, np.tile(b[:, None], (200, 1, 1))], axis=2)
    possible = terms @ all_masks(4).T / keep_prob  # examples, outputs, masks
    outputs = draw(np.random.default_rng(3), x, W, b)
    expect(
        (np.abs(outputs[..., None] - possible).min(axis=-1) < 1e-4).all(),
        "With inputs other than 1, an output is none of the sums that a mask can leave. A term is "
        "mask * weight * input: multiply by x, and sum over the inputs.",
    )


# DropConnect at prediction

A_OF_MEAN = (
    "There is no noise in it: this is the activation of the mean. The mean of an activation is "
    "another number, unless the activation is a straight line. Sample the pre-activation, apply "
    "the activation to each sample, and average last."
)
MEAN_FIRST = (
    "The samples were averaged before the activation, which tends to the activation of the mean. "
    "It is the ACTIVATIONS that are averaged: apply it to each sample first."
)
SHARED_NOISE = (
    "All {0} got the same noise. The masks of different {0} are independent, so draw a Gaussian "
    "number for each example, each output and each sample."
)
NO_SQUARES = (
    "{} not squared. It is a variance: weights and inputs are squared, entry by entry, before "
    "they are multiplied and summed."
)


def gaussian_inference(student):
    """Check DropConnect's prediction by Gaussian samples.

    Parameters
    ----------
    student : callable
        ``gaussian_inference(x, W, b, keep_prob, activation, n_samples, rng)``, the mean activation
        for masks scaled by 1/keep_prob.

    Raises
    ------
    AssertionError
        Naming what is wrong: no noise, what shares it, mean or variance of the pre-activation, an
        average taken before the activation.
    """
    __tracebackhide__ = True

    def sample(rng, layer, keep_prob, activation, n_samples):
        __tracebackhide__ = True
        x, W, b = layer
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # roots of negative variances
            result = call(
                student,
                x=x,
                W=W,
                b=b,
                keep_prob=keep_prob,
                activation=activation,
                n_samples=n_samples,
                rng=rng,
            )
        shape = (len(x), len(W))
        expect(
            np.shape(result) != (n_samples, *shape) if isinstance(result, np.ndarray) else True,
            f"The samples are returned one by one, in an array {n_samples} x {shape[0]} x "
            f"{shape[1]}. Average them: .mean(axis=0).",
        )
        expect(
            not (isinstance(result, np.ndarray) and result.dtype.kind == "f")
            or np.isfinite(result).all(),
            "The result holds NaN or infinity. Is the root of a negative variance taken? Square "
            "weights and inputs entry by entry: no term of the variance is negative.",
        )
        return as_array(result, shape, "The result", "A row an example, a column an output.")

    W, b = np.array([[0.5, -2, 1, 1.5], [3, 1, -1, 0.25], [1, 1, 2, -0.5]]), np.array([2.0, -3, 1])
    one = np.array([1.0, -0.5, 2, 3])
    layer, rng = (np.tile(one, (3000, 1)), W, b), np.random.default_rng(0)
    _check_has_noise(*(sample(rng, layer, 0.5, _identity, 1) for _ in range(2)))
    for keep_prob in (0.65, 0.3):
        u = sample(rng, layer, keep_prob, _identity, 1)
        _check_sums_moments(u, one, W, b, keep_prob)
    _check_averages(sample, one, W, b)
    _check_each_example(sample, W, b)
    check_fresh(lambda rng: sample(rng, (np.tile(one, (3, 1)), W, b), 0.5, np.tanh, 4))
    x = np.random.default_rng(1).normal(size=(5, 4))
    expect(
        np.allclose(sample(rng, (x, W, b), 1.0, np.tanh, 3), np.tanh(x @ W.T + b), atol=1e-5),
        "With keep_prob=1 nothing is dropped: the variance is 0, and the result is the activation "
        "of W x + b.",
    )
    print("gaussian_inference: mean and variance right, activations averaged.")


def _identity(u):
    """An activation that does nothing: one sample then is a pre-activation."""
    return np.array(u, dtype=float)


def _check_has_noise(u, again):
    """Look at samples for examples that are all the same, (examples, outputs)."""
    __tracebackhide__ = True
    expect(not np.array_equal(u, again) or np.ptp(u, axis=0).any(), A_OF_MEAN)
    expect(np.ptp(u, axis=0).max() > 1e-9, SHARED_NOISE.format("examples"))
    expect(
        len(np.unique(u[:, 0].round(6))) > 100,
        "Only a few different values turn up: real masks were drawn, or something is rounded. The "
        "point is to do without: draw the pre-activation from a Gaussian with rng.normal.",
    )
    standard = (u - u.mean(axis=0)) / np.maximum(u.std(axis=0), 1e-12)
    expect(np.abs(np.corrcoef(standard.T)).min() < 0.99, SHARED_NOISE.format("outputs"))


def _check_sums_moments(u, x, W, b, keep_prob):
    """Whether the samples have the mean and the variance of the masked sums, and are Gaussian."""
    __tracebackhide__ = True
    n, mean = len(u), W @ x + b
    reach = SIGMAS * u.std(axis=0) / math.sqrt(n)

    def centred(other):
        return (np.abs(u.mean(axis=0) - other) < reach).all()

    rough = SIGMAS * math.sqrt(2 / n)
    factor = (1 - keep_prob) / keep_prob
    variance = factor * (W**2 @ x**2 + b**2)
    if not centred(mean):
        for wrong, message in (
            (keep_prob * mean, "keep_prob times too small, as for masks without a scale. "),
            (mean / keep_prob, "divided by keep_prob. The scaled mask has mean 1 already. "),
            (W @ x, "without the bias. "),
            (W @ x + keep_prob * b, "with keep_prob times the bias. "),
            (keep_prob * W @ x + b, "with keep_prob times the weights, as without a scale. "),
            (W @ x - b, "with the bias subtracted. "),
            (0, "0: the mean is missing. "),
        ):
            expect(
                not centred(wrong),
                f"The mean of the pre-activation is {message}In this exercise masks are scaled by "
                "1/keep_prob, so the mean is W x + b.",
            )
        raise AssertionError(
            f"The mean of the pre-activations is {np.array2string(u.mean(axis=0), precision=3)}; "
            f"W x + b is {np.array2string(mean, precision=3)}."
        )
    if not np.allclose(u.var(axis=0), variance, rtol=rough):
        _name_variance(u.var(axis=0), x, W, b, keep_prob, rough)
    standard = ((u - mean) / np.sqrt(variance)).ravel()
    distance = stats.kstest(standard, "norm").statistic
    expect(
        distance < math.sqrt(math.log(2e10) / (2 * standard.size)),  # by chance once in 10^10
        "Mean and variance are right, but the samples are not Gaussian. Draw them with rng.normal.",
    )
    correlation = np.corrcoef(u.T)[~np.eye(len(W), dtype=bool)]
    expect(
        np.abs(correlation).max() < SIGMAS / math.sqrt(n),
        "The samples of different outputs are correlated. With DropConnect, unlike with dropout, "
        "outputs share no mask: their noise is independent.",
    )


def _variance_bases(x, W, b):
    """What may stand for W^2 x^2 + b^2, and what each mistake means."""
    return (
        (W**2 @ x**2 + b**2, None),
        (
            W**2 @ x**2,
            "The bias is forgotten in the variance. It has a mask too, so it adds its square.",
        ),
        (W**2 @ x**2 + b, "The bias is added to the variance as it is. Add its square."),
        (W**2 @ x**2 + np.abs(b), "The bias is added to the variance unsquared. Add its square."),
        (W**2 @ x + b**2, NO_SQUARES.format("The inputs are")),
        (W**2 @ np.abs(x) + b**2, NO_SQUARES.format("The inputs are")),
        (W @ x**2 + b**2, NO_SQUARES.format("The weights are")),
        (np.abs(W) @ x**2 + b**2, NO_SQUARES.format("The weights are")),
        (W @ x + b, NO_SQUARES.format("Weights, inputs and bias are")),
        (np.abs(W) @ np.abs(x) + np.abs(b), NO_SQUARES.format("Weights, inputs and bias are")),
        (np.abs(W @ x + b), NO_SQUARES.format("Weights, inputs and bias are")),
        (
            (W @ x) ** 2 + b**2,
            "The sum over the inputs is squared as a whole. The masks are independent, so the "
            "variances of the terms add up: square each term, then sum.",
        ),
        (
            (W @ x + b) ** 2,
            "The whole pre-activation is squared. The masks are independent, so the variances of "
            "the terms add up: square each term, then sum.",
        ),
        (
            np.ones(len(W)),
            "Weights and inputs have no part in the variance. A mask multiplies: what is large "
            "gets large noise.",
        ),
    )


def _name_variance(value, x, W, b, keep_prob, rough):
    """Tell the mistakes that would give these variances: the fewest, and the nearest."""
    __tracebackhide__ = True
    right = (lambda p: (1 - p) / p, None)
    factors = {"(1 - keep_prob) / keep_prob": right, **VARIANCES}
    swapped = (
        "The variance is passed as the standard deviation. rng.normal takes the standard "
        "deviation: the ROOT of the variance."
    )
    found = []
    for (base, of_base), (formula, (of, about)), (power, of_power) in itertools.product(
        _variance_bases(x, W, b), factors.items(), ((1, None), (2, swapped), (0.5, "too_small"))
    ):
        with np.errstate(invalid="ignore"):
            other = (of(keep_prob) * base) ** power
        if np.isfinite(other).all() and np.allclose(value, other, rtol=rough):
            of_factor = f"The factor of the variance is {formula}, {about}" if about else None
            if of_power == "too_small":
                of_power = "The root of the variance is taken twice. Once makes it a scale."
            mistakes = [m for m in (of_base, of_factor, of_power) if m]
            found.append((len(mistakes), np.abs(value / other - 1).max(), mistakes))
    if found:
        raise AssertionError(min(found)[2][0])  # of the fewest mistakes, the nearest
    with np.printoptions(precision=3):
        raise AssertionError(
            f"With keep_prob={keep_prob}, n_samples=1 and an activation that does nothing, the "
            "results for one example must have variances "
            f"{(1 - keep_prob) / keep_prob * (W**2 @ x**2 + b**2)}; yours have {value}."
        )


def _check_averages(sample, one, W, b):
    """Whether n_samples are averaged, and after the activation."""
    __tracebackhide__ = True
    keep_prob, n_samples = 0.6, 25
    n, rng = 2000, np.random.default_rng(4)
    layer = np.tile(one, (n, 1)), W, b
    mean = W @ one + b
    variance = (1 - keep_prob) / keep_prob * (W**2 @ one**2 + b**2)
    averaged = sample(rng, layer, keep_prob, _identity, n_samples)
    expect(
        not np.allclose(averaged.mean(axis=0), n_samples * mean, rtol=0.1, atol=0.3),
        "The samples are summed. Divide by n_samples.",
    )
    expect(
        not np.allclose(averaged.var(axis=0), variance, rtol=0.3),
        f"With n_samples={n_samples} the result scatters as one sample does. Each sample needs "
        "noise of its own: draw it inside the loop, or with a first axis of samples.",
    )
    rough = SIGMAS * math.sqrt(2 / n)
    expect(
        np.allclose(averaged.var(axis=0) * n_samples, variance, rtol=rough),
        f"An average of n_samples={n_samples} independent samples has a variance {n_samples} times "
        f"smaller than one; yours is {(variance / averaged.var(axis=0)).mean():.1f} times smaller.",
    )
    squares = sample(rng, layer, keep_prob, np.square, n_samples)
    right = mean**2 + variance
    reach = SIGMAS * np.sqrt((2 * variance**2 + 4 * mean**2 * variance) / (n * n_samples))
    yours = squares.mean(axis=0)
    expect(
        (np.abs(yours - mean) > reach).any(),
        "The activation is never applied: the samples themselves are averaged.",
    )
    expect(
        (np.abs(yours - mean**2 - variance / n_samples) > reach).any() and (squares >= 0).all(),
        MEAN_FIRST,
    )
    expect(
        (np.abs(yours - right) < reach).all(),
        "With activation=np.square the result must be near mean^2 + variance of the "
        f"pre-activation, {right[0]:.2f}; yours is {yours[0]:.2f}. Apply the activation to each "
        "sample, once, and average over the samples.",
    )


def _check_each_example(sample, W, b):
    """Whether each example gets moments of its own."""
    __tracebackhide__ = True
    data = np.random.default_rng(5)
    x, keep_prob, n_samples = data.normal(size=(400, 4)), 0.6, 30
    u = sample(np.random.default_rng(6), (x, W, b), keep_prob, _identity, n_samples)
    variance = (1 - keep_prob) / keep_prob * (x**2 @ (W**2).T + b**2)
    off = (u - x @ W.T - b) / np.sqrt(variance / n_samples)
    expect(
        np.abs(off).max() < SIGMAS + 0.5 and abs(off.std() - 1) < SIGMAS / math.sqrt(2 * off.size),
        "For a batch of different examples, mean or variance are those of another one. Each "
        "example has its own: W x + b, and the factor times W^2 x^2 + b^2.",
    )


# Fast dropout

SWAPPED = (
    "The distribution function and the density stand in each other's place: "
    "it is mean * Phi + s * phi."
)


def fast_relu(student):
    """Check mean and variance of a rectified Gaussian.

    Parameters
    ----------
    student : callable
        ``fast_relu(mean, variance)``, returning mean and variance of max(0, z), z Gaussian.

    Raises
    ------
    AssertionError
        Naming what is wrong: the density for the distribution function, a factor s, the variance
        for the standard deviation, the mean not subtracted, variance 0.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(0)
    for shape in ((8,), (3, 4)):
        mu, variance = data.uniform(-2, 3, shape), data.uniform(0.3, 5, shape)
        yours = _rectified(student, mu, variance)
        _name_rectified_mean(yours[0], mu, variance, yours[1])
        _name_rectified_variance(yours[1], mu, variance)
    mu, zero = np.array([2.0, -3, 0, 1.5]), np.array([0.0, 0, 0, 1])
    why = (
        "Where the variance is 0, nothing is random: the mean is max(0, mean), and the variance 0."
    )
    result = as_pair(_run_rectified(student, mu, zero), "mean, variance")
    for part in result:
        expect(
            not isinstance(part, np.ndarray) or np.isfinite(part).all(),
            f"{why} Yours is NaN or infinite there: mean / s is a division by 0. "
            "np.where(s > 0, s, 1) is safe to divide by.",
        )
    result = [as_array(part, mu.shape, "Each of the two") for part in result]
    right = relu_moments(mu, zero)
    expect(
        np.allclose(result, right, atol=1e-5),
        f"{why} For the means {mu[:3].tolist()} you return means "
        f"{np.round(result[0][:3], 3).tolist()} and variances "
        f"{np.round(result[1][:3], 3).tolist()}.",
    )
    print("fast_relu: mean and variance of a rectified Gaussian, variance 0 too.")


def _run_rectified(student, mu, variance):
    __tracebackhide__ = True
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        return call(student, mean=mu, variance=variance)


def _rectified(student, mu, variance):
    __tracebackhide__ = True
    result = as_pair(_run_rectified(student, mu, variance), "mean, variance")
    each = "One for each entry of the arrays given."
    return [
        as_array(part, mu.shape, f"The {name}", each)
        for part, name in zip(result, ("mean", "variance"), strict=True)
    ]


def _phi(a):
    return stats.norm.pdf(a)


def _name_rectified_mean(value, mu, variance, other):
    __tracebackhide__ = True
    s, right = np.sqrt(variance), relu_moments(mu, variance)
    expect(
        not (np.allclose(value, right[1]) and np.allclose(other, right[0])),
        "The two are the wrong way round: return the mean first, then the variance.",
    )
    a, over = mu / s, mu / variance
    for_std = (
        "The variance is taken for the standard deviation. s is the root of the variance, and the "
        "formulas take mean / s."
    )
    check_value(
        value,
        right[0],
        (
            (mu * _phi(a) + s * ndtr(a), SWAPPED),
            (mu * _phi(a) + ndtr(a), SWAPPED),
            (
                mu * ndtr(a) + _phi(a),
                "The density lacks its factor s: mean * Phi + s * phi, with phi the STANDARD "
                "density at mean / s. (The density of N(mean, s^2) at 0 has a 1/s in it.)",
            ),
            (
                mu * ndtr(a) + variance * _phi(a),
                "The density is multiplied by the variance. Its factor is s, the standard "
                "deviation.",
            ),
            (
                mu * ndtr(mu) + s * _phi(mu),
                "Phi and phi are taken at the mean. They are those of the standard Gaussian: take "
                "them at mean / s.",
            ),
            (mu * ndtr(mu) + s * _phi(a), "Phi is taken at the mean. Take it at mean / s."),
            (mu * ndtr(a) + s * _phi(mu), "phi is taken at the mean. Take it at mean / s."),
            (mu * ndtr(over) + s * _phi(over), for_std),
            (mu * ndtr(over) + variance * _phi(over), for_std),
            (
                mu * ndtr(a),
                "The part s * phi(mean / s) is missing. A Gaussian above 0 is above its "
                "own mean on average.",
            ),
            (s * _phi(a), "The part mean * Phi(mean / s) is missing."),
            (mu * ndtr(a) - s * _phi(a), "The sign of s * phi is turned: it is added."),
            (
                mu * ndtr(-a) + s * _phi(a),
                "Phi is taken at -mean / s: the probability to be BELOW 0. The ReLU passes what "
                "is above.",
            ),
            (
                np.maximum(mu, 0),
                "This is the ReLU of the mean. The mean of the ReLU is larger: the noise "
                "is cut off on one side only.",
            ),
            (
                mu + s * _phi(a) / ndtr(a),
                "This is the mean of what is above 0, given that it IS above. The zeros "
                "count too: multiply by the probability Phi(mean / s).",
            ),
            (mu, "This is the mean before the ReLU."),
        ),
        _told("The mean of max(0, z)", value, right[0], mu, variance),
    )


def _name_rectified_variance(value, mu, variance):
    __tracebackhide__ = True
    s = np.sqrt(variance)
    a, (mean, right) = mu / s, relu_moments(mu, variance)
    square = right + mean**2
    not_subtracted = (
        "This is the mean SQUARE of the ReLU. Its variance is less: subtract the square of the "
        "mean (of the ReLU)."
    )
    check_value(
        value,
        right,
        (
            (square, not_subtracted),
            (
                square - mu**2,
                "What is subtracted is the square of the mean BEFORE the ReLU. Subtract that of "
                "the ReLU's own mean.",
            ),
            (
                square - np.maximum(mu, 0) ** 2,
                "Subtract the square of the mean of the ReLU, not of the ReLU of the mean.",
            ),
            (
                square - mean,
                "The mean is subtracted from the mean square. Subtract the SQUARE of the mean.",
            ),
            (np.sqrt(right), "This is the standard deviation. Return its square, the variance."),
            (-right, "The sign is turned: mean square minus squared mean."),
            (variance, "This is the variance before the ReLU. What it cuts off varies no more."),
            (
                variance * ndtr(a),
                "Cutting off the negative part does more than let a share Phi of the variance "
                "through: take the mean square, and subtract the squared mean.",
            ),
            (
                (mu**2 + variance) * ndtr(a) - mean**2,
                "The mean square lacks the part mean * s * phi(mean / s).",
            ),
            (
                (mu**2 + variance) * ndtr(a) + s * _phi(a) - mean**2,
                "In the mean square, s * phi lacks the factor mean: mean * s * phi(mean / s).",
            ),
            (
                (mu**2 + variance) * ndtr(a) + mu * _phi(a) - mean**2,
                "In the mean square, mean * phi lacks the factor s: mean * s * phi(mean / s).",
            ),
            (
                (mu**2 + variance) * ndtr(a) + mu * variance * _phi(a) - mean**2,
                "In the mean square, phi is multiplied by the variance: it is mean * s * phi.",
            ),
            (
                (mu**2 + s) * ndtr(a) + mu * s * _phi(a) - mean**2,
                "In the mean square, s stands in the place of its square: (mean^2 + s^2) * Phi.",
            ),
            ((mu**2 + variance) * ndtr(a), not_subtracted + " And a part of it is missing."),
            (
                variance * ndtr(a) + mu * s * _phi(a) - mean**2,
                "The mean square lacks mean^2: (mean^2 + s^2) * Phi.",
            ),
        ),
        _told("The mean is right. The variance of max(0, z)", value, right, mu, variance),
    )


def _told(what, value, right, mu, variance):
    at = farthest(value, right)
    return (
        f"{what} must be {right[at]:.5f} for z of mean {mu[at]:.3f} and variance "
        f"{variance[at]:.3f}; yours is {value[at]:.5f}."
    )


# Sparse variational dropout

KL_SIGN = (
    "The KL has the wrong sign: this loss falls as the noise gets SMALLER. The formula of the "
    "exercise is that of -KL; the loss adds +KL, so noisy weights are cheap."
)


def negative_bound(student):
    """Check the loss of sparse variational dropout for a minibatch.

    Parameters
    ----------
    student : callable
        ``negative_bound(log_likelihoods, log_alpha, n_train)``, the negative mean log-likelihood
        plus KL / n_train, with Molchanov's approximation of the KL.

    Raises
    ------
    AssertionError
        Naming what is wrong: the sign of the KL, its weight, a mean for its sum, log alpha, what
        is not finite far out.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(0)
    for batch, shape, n_train in ((6, (3, 5), 40), (50, (4, 2), 300)):
        log_likelihoods = -data.exponential(1.3, batch)
        log_alpha = data.uniform(-4, 4, shape)
        value = _bound(student, log_likelihoods, log_alpha, n_train)
        _name_bound(value, log_likelihoods, log_alpha, n_train)
    for far in (-800.0, 800.0):
        log_alpha = np.array([[far, -1.0]])
        given = {"log_alpha": log_alpha, "n_train": 10}
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")
            value = call(student, log_likelihoods=np.array([-1.0, -3]), **given)
        right = 2 + kl_molchanov(log_alpha).sum() / 10
        side = "1/alpha" if far < 0 else "alpha"
        value = float(np.ravel(value)[0])
        expect(
            math.isfinite(value),
            f"With log_alpha = {far:.0f} the loss is {value}: {side} is beyond the largest number "
            "in double precision. Stay in logarithms: log(1 + 1/alpha) is "
            "np.logaddexp(0, -log_alpha), and expit never overflows.",
        )
        expect(
            math.isclose(value, right, rel_tol=1e-6),
            f"With log_alpha = {far:.0f} the loss must be {right:.4f}, yours is {value:.4f}. Is "
            "log_alpha or alpha clipped, or something small added to it? Stay in logarithms "
            "instead: np.logaddexp(0, -log_alpha).",
        )
    print("negative_bound: mean loss plus KL / N, finite for any alpha.")


def _bound(student, log_likelihoods, log_alpha, n_train):
    __tracebackhide__ = True
    with np.errstate(all="ignore"), warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = call(
            student, log_likelihoods=log_likelihoods, log_alpha=log_alpha, n_train=n_train
        )
    if isinstance(result, np.ndarray) and result.size > 1:
        raise AssertionError(
            f"The loss must be one number, yours has the shape {result.shape}. Average over the "
            "examples, and sum the KL over all weights."
        )
    if isinstance(result, float) and math.isnan(result):
        raise AssertionError(
            "The loss is NaN. Is the logarithm of log_alpha taken? It is a logarithm already, and "
            "may be negative."
        )
    return as_number(result, "The loss")


def _kl_terms(log_alpha):
    """What may stand for the KL of each weight, and what each mistake means."""
    k1, k2, k3 = MOLCHANOV
    tail, alpha = np.logaddexp(0, -log_alpha) / 2, np.exp(log_alpha)

    def kl(sigmoid=expit, tail=tail, constant=k1, at=log_alpha, k=(k1, k2, k3)):
        return -(k[0] * sigmoid(k[1] + k[2] * at) - tail - constant)

    right = kl()
    return (
        (right, None),
        (
            kl(at=alpha, tail=np.log1p(np.exp(-alpha)) / 2),
            "alpha stands in the place of log(alpha), everywhere.",
        ),
        (kl(at=alpha), "The sigmoid takes k2 + k3 log(alpha); yours takes alpha itself."),
        (
            kl(tail=np.log1p(1 / np.abs(log_alpha)) / 2),
            "log(1 + 1/alpha) takes alpha = exp(log_alpha), not log_alpha.",
        ),
        (
            kl(tail=np.log1p(np.exp(-alpha)) / 2),
            "log(1 + 1/alpha) takes alpha = exp(log_alpha) once; yours takes the exponential "
            "twice.",
        ),
        (
            kl(tail=np.logaddexp(0, log_alpha) / 2),
            "The logarithm takes 1 + alpha. It is log(1 + 1/alpha): np.logaddexp(0, -log_alpha).",
        ),
        (kl(tail=2 * tail), "log(1 + 1/alpha) lacks its factor 1/2."),
        (kl(tail=-tail), "The sign of 1/2 log(1 + 1/alpha) is turned. In -KL it is subtracted."),
        (kl(tail=0 * tail), "The part 1/2 log(1 + 1/alpha) is missing."),
        (kl(tail=-log_alpha / 2), "1/alpha stands in the place of 1 + 1/alpha."),
        (
            kl(constant=0),
            "The constant k1 is missing: without it the KL does not tend to 0 as alpha grows.",
        ),
        (kl(constant=-k1), "The sign of the constant k1 is turned: -KL ends in - k1."),
        (kl(sigmoid=lambda z: expit(-z)), "The sign inside the sigmoid is turned."),
        (kl(sigmoid=np.tanh), "tanh stands in the place of the logistic sigmoid."),
        (kl(sigmoid=lambda z: z), "The sigmoid is missing."),
        (kl(k=(k1, k3, k2)), "k2 and k3 are swapped: k2 + k3 log(alpha)."),
        (kl(k=(1, k2, k3)), "The sigmoid lacks its factor k1."),
        (
            -log_alpha / 2,
            "This is -1/2 log(alpha), the start of the formula for small alpha alone. Take the "
            "whole of it.",
        ),
        (0 * log_alpha, "The KL is missing: this is the data's part alone."),
    )


def _name_bound(value, log_likelihoods, log_alpha, n_train):
    """Tell the mistakes that would give this loss: of the smallest set, the first."""
    __tracebackhide__ = True
    batch, n_weights = len(log_likelihoods), log_alpha.size
    right = -log_likelihoods.mean() + kl_molchanov(log_alpha).sum() / n_train
    if math.isclose(value, right, rel_tol=1e-6):
        return
    for times, what in ((n_train, "training set"), (batch, "minibatch")):
        expect(
            not math.isclose(value, times * right, rel_tol=1e-6),
            f"This is the loss of the whole {what}, {times} times too large. Here it is one an "
            "example: the mean of the log-likelihoods, and KL / N.",
        )
    sums_up = "Every weight costs its own KL, so the KL is SUMMED over the weights"
    data_parts = (
        (-log_likelihoods.mean(), None),
        (
            log_likelihoods.mean(),
            "The log-likelihood has the wrong sign: a loss falls as the data gets likelier.",
        ),
        (
            -log_likelihoods.sum(),
            "The log-likelihoods are summed over the minibatch. The loss is one an example: their "
            "mean, and KL / N beside it.",
        ),
        (
            -log_likelihoods.sum() / n_train,
            "The log-likelihoods are summed and divided by n_train. The minibatch is only a part "
            "of the data: take its mean.",
        ),
        (-np.exp(log_likelihoods).mean(), "They are log-likelihoods already: no np.exp."),
        (0.0, "The log-likelihood is missing: this is the KL's part alone."),
    )
    weights = (
        (1 / n_train, None),
        (-1 / n_train, KL_SIGN),
        (
            1,
            "The KL is not divided by n_train. It is paid once for the whole training set, and the "
            "loss is one an EXAMPLE: each bears 1/N of it.",
        ),
        (-1, f"{KL_SIGN} And it is not divided by n_train."),
        (
            1 / batch,
            "The KL is divided by the size of the minibatch. It is paid once for the whole "
            "training set: divide by n_train.",
        ),
        (
            batch / n_train,
            "The KL is multiplied by batch / n_train. That belongs to a loss summed over the "
            "minibatch; with the mean loss, divide by n_train.",
        ),
        (1 / (n_train * n_weights), f"{sums_up}; yours is their mean."),
        (1 / n_weights, f"{sums_up}; yours is their mean. And divide by n_train."),
        (-1 / (n_train * n_weights), f"{sums_up}; yours is their mean, with the sign turned."),
        (1 / (n_train * len(log_alpha)), f"{sums_up}; yours is averaged over the rows."),
        (1 / (n_train * log_alpha.shape[1]), f"{sums_up}; yours is averaged over the columns."),
    )
    found = []
    for (data, of_data), (weight, of_weight), (kl, of_kl) in itertools.product(
        data_parts, weights, _kl_terms(log_alpha)
    ):
        if math.isclose(value, data + weight * kl.sum(), rel_tol=1e-6):
            mistakes = (of_kl if of_kl and "missing: this" in of_kl else None, of_weight, of_data)
            found.append([m for m in (*mistakes, of_kl) if m])
    if found:
        raise AssertionError(min(found, key=len)[0])
    raise AssertionError(
        f"For {batch} examples, {n_weights} weights and n_train={n_train} the loss must be "
        f"{right:.5f}: {-log_likelihoods.mean():.5f} from the data, and a KL of "
        f"{kl_molchanov(log_alpha).sum():.5f} divided by {n_train}. Yours is {value:.5f}."
    )


# Recurrent dropout

NEW_EACH_STEP = (
    "The mask changes from step to step. Then the memory of a unit survives T steps with "
    "probability keep_prob^T only. Draw ONE mask for each sequence, before the loop over time."
)
ON_OUTPUT = (
    "The outputs themselves are masked: some are 0. The mask belongs to the old state on its way "
    "into the next step, m * h; what is RETURNED, and what the mask is applied to, is h "
    "without a mask."
)
ON_INPUT = (
    "The first step differs from tanh(W x_1 + b). The state before it is 0, so the mask has "
    "nothing to drop there yet: neither the input nor the weights W nor the bias have a mask here."
)
AFTER_U = (
    "The mask multiplies U h. It belongs to the state itself, before U: U (m * h). A unit whose "
    "state is dropped is then dropped for ALL units that listen to it."
)


def run_rnn(student):
    """Check a recurrent network whose state keeps one mask for each sequence.

    Parameters
    ----------
    student : callable
        ``run_rnn(x, W, U, b, keep_prob, phase, rng)``, returning the states
        h_t = tanh(W x_t + U (m * h_{t-1}) + b), of shape (sequences, steps, hidden).

    Raises
    ------
    AssertionError
        Naming what is wrong: a mask for each step, one for all sequences, the scale, the place of
        the mask, a mask at prediction.
    """
    __tracebackhide__ = True
    keep_prob, n, n_steps, hidden, inputs = 0.8, 400, 5, 20, 3
    data = np.random.default_rng(0)
    x, W = data.normal(size=(n, n_steps, inputs)), data.normal(size=(hidden, inputs)) / 3
    U, b = 0.6 * np.linalg.qr(data.normal(size=(hidden, hidden)))[0], data.normal(size=hidden) / 5

    def run(phase, rng, keep_prob=keep_prob):
        __tracebackhide__ = True
        result = call(student, x=x, W=W, U=U, b=b, keep_prob=keep_prob, phase=phase, rng=rng)
        shape = (n, n_steps, hidden)
        if isinstance(result, np.ndarray) and result.shape == (n_steps, n, hidden):
            raise AssertionError(
                "Time comes first in your states. Put the sequences first: "
                "np.stack(states, axis=1)."
            )
        return as_array(result, shape, "The result", "All states: sequences, steps, hidden units.")

    rng = np.random.default_rng(1)
    train, test, again = run("train", rng), run("test", rng), run("test", rng)
    expect(
        np.array_equal(test, again) or not np.allclose(train, _states(x, W, U, b)),
        "The two phases are swapped: the mask is on at prediction, and off in training.",
    )
    expect(
        np.array_equal(test, again),
        "The mask is still on at prediction: the same sequences came out differently. There "
        "nothing is dropped, and the whole state is carried on.",
    )
    _check_plain(test, x, W, U, b, keep_prob)
    expect(not np.allclose(train, test), "Nothing is dropped in training: where is the mask?")
    _check_state_masks(train, (x, W, U, b), keep_prob)
    check_fresh(lambda rng: run("train", rng))
    expect(
        np.allclose(run("train", np.random.default_rng(0), 1.0), test, atol=1e-5),
        "With keep_prob=1 nothing is dropped: training gives what prediction gives.",
    )
    check_unknown_phase(student, x, W, U, b, keep_prob, "predict", np.random.default_rng(0))
    print("run_rnn: one mask a sequence, on the old state, scaled; none at the end.")


def _states(x, W, U, b, state_factor=1.0, h=None, activation=np.tanh):
    """All states without masks, the old state multiplied by a factor."""
    h, states = np.zeros((len(x), len(U))) if h is None else h, []
    for t in range(x.shape[1]):
        h = activation(x[:, t] @ W.T + state_factor * h @ U.T + b)
        states.append(h)
    return np.stack(states, axis=1)


def _check_plain(test, x, W, U, b, keep_prob):
    """Whether the network without masks is the right one."""
    __tracebackhide__ = True
    no_factor = "The mask is scaled in training, so prediction needs no factor."
    right = _states(x, W, U, b)
    check_value(
        test,
        right,
        (
            (
                _states(x, W, U, b, keep_prob),
                f"At prediction the old state is multiplied by keep_prob. {no_factor}",
            ),
            (
                _states(x, W, U, b, 1 / keep_prob),
                f"At prediction the old state is divided by keep_prob. {no_factor}",
            ),
            (
                keep_prob * right,
                f"At prediction the states are multiplied by keep_prob. {no_factor}",
            ),
            (_states(x, W, U, b, 0.0), "The old state has no part in the new one: where is U h?"),
            (
                _states(x, W, U.T, b),
                "U is transposed. Row i of U holds the weights INTO unit i: for rows of states "
                "that is h @ U.T.",
            ),
            (_states(x, W, U, 0 * b), "The bias is missing."),
            (_states(x, W, U, -b), "The bias is subtracted. In this exercise it is added."),
            (
                np.arctanh(np.clip(right, -1 + 1e-12, 1 - 1e-12)),
                "These are pre-activations. The state is their tanh.",
            ),
            (
                _states(x, W, U, b, activation=expit),
                "The logistic sigmoid stands in the place of tanh.",
            ),
            (
                _states(x, W, U, b, activation=lambda z: np.maximum(z, 0)),
                "A ReLU stands in the place of tanh.",
            ),
            (_states(x, W, U, b, activation=lambda z: z), "tanh is missing."),
            (_states(x[:, ::-1], W, U, b), "Time runs backwards: begin with step 0."),
            (right[:, ::-1], "The states come out in reverse order."),
            (
                _states(x, W, U, b, h=np.ones((len(x), len(U)))),
                "The state before the first step must be 0; yours is 1.",
            ),
        ),
        "Without masks the states must be h_t = tanh(W x_t + U h_(t-1) + b), beginning with a "
        f"state of 0. At [sequence, step, unit] = {list(farthest(test, right))} that is "
        f"{right[farthest(test, right)]:.4f}; yours is {test[farthest(test, right)]:.4f}.",
        rtol=1e-4,
        atol=1e-5,
    )


def _check_state_masks(train, network, keep_prob):
    """Read off by what the old states were multiplied, and look at it."""
    __tracebackhide__ = True
    x, W, U, b = network
    expect(not (train == 0).any(), ON_OUTPUT)
    first = np.tanh(x[:, 0] @ W.T + b)
    ratio = train[:, 0] / first
    expect(
        np.allclose(ratio, 1, rtol=1e-4) or np.ptp(ratio) > 1e-4,
        f"The states that are returned are multiplied by {ratio.flat[0]:.4g} in training. Only the "
        "old state on its way into the next step is masked and scaled.",
    )
    expect(np.allclose(train[:, 0], first, atol=1e-5), ON_INPUT)
    old, bounded = train[:, :-1], np.clip(train[:, 1:], -1 + 1e-14, 1 - 1e-14)
    received = np.arctanh(bounded) - x[:, 1:] @ W.T - b  # sequences, steps, hidden
    masked, clear = received @ np.linalg.inv(U).T, np.abs(old) > 0.02  # else the factor is 0/0
    factors = np.divide(masked, old, out=np.full_like(old, np.nan), where=clear)
    kept, dropped = np.abs(factors) > 0.01, np.abs(factors) <= 0.01  # NaN is neither
    expect(kept.any(), "In training the old state never arrives: it is always dropped.")
    scale = _one_scale(factors, kept, received, old @ U.T)
    expect(not (kept.any(axis=1) & dropped.any(axis=1)).any(), NEW_EACH_STEP)
    kept, dropped = kept.any(axis=1), dropped.any(axis=1)  # sequences, hidden
    expect(
        (kept.any(axis=0) & dropped.any(axis=0)).any(),
        "One mask for all sequences: every sequence lost the same units. Each sequence needs a "
        "mask of its own: draw an array (sequences, hidden units).",
    )
    expect(
        (kept.any(axis=1) & dropped.any(axis=1)).any(),
        "In each sequence all units are kept or dropped together. Each unit needs a draw of its "
        "own: draw an array (sequences, hidden units).",
    )
    _check_share(kept[kept | dropped], keep_prob, "states")
    names = [n for n, of in FACTORS.items() if math.isclose(scale, of(keep_prob), rel_tol=1e-3)]
    general = f"A kept state must be multiplied by 1/keep_prob; yours by {scale:.4g}."
    expect(names, BY_SHARE if abs(scale * keep_prob - 1) < 0.1 else general)
    expect(names[0] == "1/keep_prob", f"The kept states are {SCALES.get(names[0])}")


def _one_scale(factors, kept, received, through):
    """By what all the kept states were multiplied: one number, or something else was masked."""
    __tracebackhide__ = True
    values = factors[kept]
    if np.ptp(values) < 1e-3 * abs(values.mean()):
        return values.mean()
    clear = np.abs(through) > 0.02
    after = received[clear] / through[clear]  # of U h
    after = after[np.abs(after) > 0.01]
    expect(np.ptp(after) > 1e-3, AFTER_U)
    each = np.where(kept, factors, np.nan)
    low, high = np.nanmin(each, axis=(1, 2)), np.nanmax(each, axis=(1, 2))
    expect((high - low > 1e-3).any() or (values < 0).any(), BY_SHARE)
    raise AssertionError(
        "What reaches a step is not U (m * h), with an m that holds zeros and one other number. Is "
        "the mask on the weights U, or on something else? It multiplies the old state, and has an "
        "entry for each sequence and each hidden unit."
    )
