"""Checks of the exercises on the idea of dropout."""

import numpy as np
from scipy import stats
from scipy.special import expit as sigmoid

from lib.checks.common import (
    as_array,
    as_number,
    call,
    check_fresh,
    check_kept,
    check_phases,
    expect,
)
from lib.comparison import paired_difference


def batch_mask(student):
    """Check a function that draws the masks of a minibatch.

    Parameters
    ----------
    student : callable
        ``batch_mask(n_examples, n_units, keep_prob, rng)``, returning zeros and ones of shape
        (n_examples, n_units).

    Raises
    ------
    AssertionError
        Naming what is wrong: the shape, the values, a shared mask, keep and drop mixed up, or a
        mask that does not come fresh from `rng`.
    """
    __tracebackhide__ = True

    def draw(rng, keep_prob=0.8, n_examples=400, n_units=50):
        __tracebackhide__ = True
        mask = call(student, n_examples=n_examples, n_units=n_units, keep_prob=keep_prob, rng=rng)
        return as_array(
            mask,
            (n_examples, n_units),
            "The mask",
            "One row an example: one mask for the whole batch is not enough.",
        )

    for keep_prob in (0.8, 0.3):
        mask = draw(np.random.default_rng(0), keep_prob)
        values = np.unique(mask)
        expect(
            np.isin(values, (0, 1)).all(),
            f"A mask holds only 0 and 1, yours holds {values[:3].round(3).tolist()}. keep_prob "
            "says how often a unit is kept; no factor goes into the mask in this exercise.",
        )
        check_kept(mask == 1, keep_prob)
    check_fresh(draw)
    expect(draw(np.random.default_rng(0), 1.0).all(), "With keep_prob=1 every unit is kept.")
    print("batch_mask: 0 and 1, one mask for each example, fresh at each call.")


_ORIGINAL_RULE = {
    ("1/keep_prob", "1"): "This is inverted dropout: a right rule, and the next part's. Here the "
    "mask alone acts in training, and the factor keep_prob comes at prediction.",
    ("1/keep_prob", "keep_prob"): "The scale is there twice: you divide by keep_prob in training "
    "and multiply by it at prediction. One of the two is enough; here, the one at prediction.",
    ("keep_prob", "1"): "The scale is in the wrong phase: you multiply by keep_prob in training, "
    "where the mask has already lowered the mean. It belongs to prediction.",
    ("keep_prob", "keep_prob"): "The scale is in both phases. In training the mask has already "
    "lowered the mean to keep_prob times the activation; only prediction needs the factor.",
    ("1", "1"): "At prediction all units are on, so the next layer gets 1/keep_prob times what it "
    "was trained with. Multiply the activations by keep_prob there.",
    ("1", "1/keep_prob"): "At prediction you divide by keep_prob. More units are on than in "
    "training, so activations must shrink: multiply by keep_prob.",
    ("1", "1 - keep_prob"): "At prediction you multiply by 1 - keep_prob: did you take keep_prob "
    "for the probability to drop?",
}


def dropout_layer(student):
    """Check a layer y = m * g(Wx - b), in training and at prediction.

    Parameters
    ----------
    student : callable
        ``dropout_layer(x, weights, bias, keep_prob, phase, rng)`` with the logistic sigmoid for
        g, the mask alone in training and the factor `keep_prob` at prediction.

    Raises
    ------
    AssertionError
        Naming what is wrong: the layer itself, the mask, the phase, or the scale.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(3)
    x, weights, bias = data.normal(size=(300, 4)), data.normal(size=(40, 4)), data.normal(size=40)
    keep_prob, z = 0.8, x @ weights.T - bias

    def run(phase, rng):
        __tracebackhide__ = True
        y = call(
            student, x=x, weights=weights, bias=bias, keep_prob=keep_prob, phase=phase, rng=rng
        )
        return as_array(y, z.shape, "The output", "One row an example, one column a unit.")

    train, test = (run(phase, np.random.default_rng(0)) for phase in ("train", "test"))
    plus = sigmoid(x @ weights.T + bias)
    expect(
        not any(np.allclose(test, scale * plus) for scale in (1, keep_prob, 1 / keep_prob)),
        "The bias has the wrong sign: the slides' layer is g(Wx - b).",
    )
    expect(
        not any(np.allclose(test, scale * z) for scale in (1, keep_prob, 1 / keep_prob)),
        "The nonlinearity is missing: apply sigmoid to Wx - b.",
    )
    expect(
        not np.allclose(test, sigmoid(keep_prob * z)),
        "The factor is inside the nonlinearity. Scale the activation, keep_prob * g(Wx - b): it is "
        "the activation that the mask multiplies.",
    )
    expect(
        (np.abs(train - 0.5) < 1e-12).mean() < 0.05,
        "Dropped units say 0.5, that is g(0): the mask is inside the nonlinearity. Multiply the "
        "activation, m * g(Wx - b), so that a dropped unit says nothing.",
    )
    check_phases(run, sigmoid(z), keep_prob, ("1", "keep_prob"), _ORIGINAL_RULE)
    print("dropout_layer: masked in training, whole and scaled at prediction.")


def layer_gradients(student):
    """Check the backward pass of y = m * g(Wx - b) against finite differences.

    Parameters
    ----------
    student : callable
        ``layer_gradients(grad_y, x, weights, bias, mask)``, returning the gradients of the loss
        with respect to `x`, `weights` and `bias`, given the one with respect to y.

    Raises
    ------
    AssertionError
        Naming what is wrong: a gradient that is not masked, a mask drawn anew, a missing
        derivative, a mean instead of a sum.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(4)
    x, weights, bias = data.normal(size=(6, 3)), data.normal(size=(5, 3)), data.normal(size=5)
    grad_y = data.normal(size=(6, 5))
    mask = (data.random((6, 5)) < 0.5).astype(float)
    mask[:, 2] = 0  # a unit that no example kept

    def gradients(mask):
        __tracebackhide__ = True
        result = call(student, grad_y=grad_y, x=x, weights=weights, bias=bias, mask=mask)
        expect(
            isinstance(result, list | tuple) and len(result) == 3,
            "Return three arrays: return grad_x, grad_weights, grad_bias.",
        )
        return [
            as_array(array, like.shape, f"grad_{of}", f"A gradient has the shape of its {of}.")
            for array, like, of in zip(
                result, (x, weights, bias), ("x", "weights", "bias"), strict=True
            )
        ]

    def loss(x, weights, bias, mask):
        return (grad_y * mask * sigmoid(x @ weights.T - bias)).sum()

    def from_z(grad_z):
        return grad_z @ weights, grad_z.T @ x, -grad_z.sum(axis=0)

    def from_differences(mask):
        return (
            differences(lambda value: loss(value, weights, bias, mask), x),
            differences(lambda value: loss(x, value, bias, mask), weights),
            differences(lambda value: loss(x, weights, value, mask), bias),
        )

    h = sigmoid(x @ weights.T - bias)
    yours, again, other = gradients(mask), gradients(mask), gradients(mask[::-1])
    every = zip(
        ("grad_x", "grad_weights", "grad_bias"),
        from_differences(mask),
        from_differences(np.ones_like(mask)),
        from_z(grad_y),
        from_z(grad_y * mask),
        from_z(grad_y * mask * h),
        strict=True,
    )
    for i, (name, right, unmasked, neither, linear, activation) in enumerate(every):
        expect(
            not any(
                np.allclose(sign * yours[i], wrong, atol=1e-6)
                for wrong in (unmasked, neither)
                for sign in (1, -1)
            ),
            f"{name} is not masked: a unit that was dropped did not act on the loss, so nothing "
            "flows back through it. Multiply grad_y by the mask of the forward pass.",
        )
        expect(
            np.array_equal(yours[i], again[i]) and not np.array_equal(yours[i], other[i]),
            f"{name} does not follow the mask it was given: is a new mask drawn in the backward "
            "pass? It must be the very mask of the forward pass.",
        )
        expect(
            not any(
                np.allclose(sign * yours[i], wrong, atol=1e-6)
                for wrong in (linear, activation)
                for sign in (1, -1)
            ),
            f"{name} lacks the derivative of the sigmoid, h * (1 - h).",
        )
        expect(
            not any(np.allclose(sign * yours[i] * len(x), right, atol=1e-6) for sign in (1, -1)),
            f"{name} is a mean over the batch. Take the sum: grad_y already carries whatever "
            "average the loss takes.",
        )
        expect(
            not np.allclose(-yours[i], right, atol=1e-6),
            f"{name} has the wrong sign."
            + (" The layer subtracts its bias: z = Wx - b." if name == "grad_bias" else ""),
        )
        expect(
            np.allclose(yours[i], right, atol=1e-6),
            f"{name} differs from finite differences of the loss. Follow the chain rule from the "
            "output: grad_y, times mask, times h * (1 - h), then through Wx - b.",
        )
    expect(
        not yours[1][2].any() and yours[2][2] == 0,
        "Weights and bias of a unit that no example kept must get a gradient of exactly 0.",
    )
    print("layer_gradients: right by finite differences, masked as forward.")


def differences(function, at, step=1e-5):
    """Gradient of a scalar function by central differences."""
    gradient = np.empty_like(at)
    for i in np.ndindex(at.shape):
        shift = np.zeros_like(at)
        shift[i] = step
        gradient[i] = (function(at + shift) - function(at - shift)) / (2 * step)
    return gradient


def steps_needed(student):
    """Check how many steps it takes until a unit has taken part at least once.

    Counted for one unit and one example, which meets a mask of its own each time it is shown. No
    setting is asked for in which a number of steps reaches the confidence exactly: there a right
    answer may be off by one through rounding.

    Parameters
    ----------
    student : callable
        ``steps_needed(keep_prob, confidence)``, returning the smallest number of steps after
        which a unit has taken part with at least that probability.

    Raises
    ------
    AssertionError
        Naming what is wrong: keep and drop mixed up, 1/2 built in, or rounding the wrong way.
    """
    __tracebackhide__ = True
    for keep_prob, confidence in (
        (0.5, 0.95),
        (0.5, 0.9),
        (0.9, 0.95),
        (0.2, 0.95),
        (0.7, 0.999),
        (1.0, 0.95),
    ):
        result = call(student, keep_prob=keep_prob, confidence=confidence)
        n = as_number(result, "The number of steps")
        asked = f"keep_prob={keep_prob} and confidence={confidence}"
        expect(n == int(n), f"For {asked} you answer {n:.3g}: steps come in whole numbers.")
        n = int(n)
        right = _steps(keep_prob, confidence)
        if n == right:
            continue
        expect(
            keep_prob < 1,
            f"With keep_prob=1 a unit takes part in the very first step, so 1 is enough; you "
            f"answer {n}.",
        )
        swapped = _steps(1 - keep_prob, confidence)
        expect(
            swapped == right or n not in (swapped, swapped - 1),
            f"For {asked} you answer {n}, where {right} would do: did you take keep_prob for the "
            "probability to drop? A unit misses a step with probability 1 - keep_prob.",
        )
        expect(
            n != _steps(0.5, confidence),
            f"For {asked} you answer {n}, as for keep_prob=0.5. How likely is it to miss one "
            "step when keep_prob is not 1/2?",
        )
        reached = 1 - (1 - keep_prob) ** n if n >= 0 else 0
        expect(
            n > right,
            f"For {asked} you answer {n}, but by then a unit has taken part with probability "
            f"{reached:.4f} only. Is it rounded down, or to the nearest?",
        )
        raise AssertionError(
            f"For {asked} you answer {n}, but {n - 1} steps already reach "
            f"{1 - (1 - keep_prob) ** (n - 1):.4f}. Look for the smallest number."
        )
    print("steps_needed: the smallest number, for six settings.")


def _steps(keep_prob, confidence):
    n = 1
    while (1 - keep_prob) ** n > (1 - confidence) * (1 + 1e-9):  # a tie is enough
        n += 1
    return n


def paired_comparison(student):
    """Check a comparison of two settings that were run with the same seeds.

    Parameters
    ----------
    student : callable
        ``paired_comparison(ours, baseline)``, returning the mean of ``ours - baseline``, the ends
        of its 95 % interval (Student's t), and how many seeds have the sign of the mean.

    Raises
    ------
    AssertionError
        Naming what is wrong: seeds not paired, the spread of single seeds taken for that of the
        mean, the normal distribution for Student's t, the wrong sign or count.
    """
    __tracebackhide__ = True
    for n, shift in ((5, -0.4), (8, 0.7)):
        data = np.random.default_rng(n)
        baseline = 6 + 2 * data.normal(size=n)  # some seeds are harder, for both
        ours = baseline + shift + 0.5 * data.normal(size=n)
        if n == 5:
            ours[1] = baseline[1]  # a tie
        result = call(student, ours=ours, baseline=baseline)
        expect(
            isinstance(result, list | tuple) and len(result) >= 4,
            "Return four numbers: return mean, low, high, n_agree.",
        )
        names = ("mean", "low", "high", "n_agree")
        mean, low, high, n_agree = (
            as_number(value, name) for value, name in zip(result[:4], names, strict=True)
        )
        _check_interval(ours, baseline, mean, low, high)
        right = paired_difference(ours, baseline).n_agree
        expect(n_agree != right / n, f"n_agree is a count: {right} of {n} seeds, not a share.")
        expect(
            n_agree == right,
            f"{right} of {n} seeds have a difference with the sign of the mean; you count "
            f"{n_agree:g}. Which sign agrees depends on the sign of the mean; a difference of 0 "
            "has none.",
        )
    print("paired_comparison: paired, Student's t, agreeing seeds counted.")


def _check_interval(ours, baseline, mean, low, high):
    __tracebackhide__ = True
    difference, n = ours - baseline, len(ours)
    expect(
        not np.isclose(mean, -difference.mean()),
        "The sign is turned round: the difference is ours - baseline, negative where ours is "
        "lower.",
    )
    expect(
        np.isclose(mean, difference.mean()),
        f"The mean of ours - baseline over the seeds is {difference.mean():.3f}, yours is "
        f"{mean:.3f}.",
    )
    expect(
        low < high and np.isclose((low + high) / 2, mean),
        "The interval must lie around the mean, low < mean < high; "
        f"yours is [{low:.3f}, {high:.3f}].",
    )
    half = (high - low) / 2
    sd = difference.std(ddof=1)
    t = stats.t.ppf(0.975, n - 1)
    unpaired = np.sqrt((ours.var(ddof=1) + baseline.var(ddof=1)) / n)
    freedom = (n - 1, 2 * n - 2, _welch(ours, baseline))
    multipliers = [stats.t.ppf(0.975, df) for df in freedom] + [1.96, 2.0]
    expect(
        not any(np.isclose(half, m * unpaired, rtol=1e-3) for m in multipliers),
        "The interval is unpaired: it adds the spread of ours to that of baseline. Both ran with "
        "the same seeds, so what a seed makes hard is in both: take the differences first.",
    )
    expect(
        not np.isclose(half, t * sd, rtol=1e-3) and not np.isclose(half, sd, rtol=1e-3),
        "The interval shows how single seeds scatter. The mean of n seeds is surer than one: "
        "divide the standard deviation by the square root of n.",
    )
    expect(
        not any(np.isclose(half, z * sd / np.sqrt(n), rtol=1e-3) for z in (1.96, 2, 1.959964)),
        f"1.96 belongs to a known spread. Yours is estimated from {n} seeds: take Student's t "
        f"with {n - 1} degrees of freedom, {t:.3f}.",
    )
    expect(
        not np.isclose(half, t * difference.std() / np.sqrt(n), rtol=1e-4),
        "The standard deviation divides by n. From a sample take n - 1: std(ddof=1).",
    )
    expect(
        not np.isclose(half, stats.t.ppf(0.95, n - 1) * sd / np.sqrt(n), rtol=1e-3),
        "The interval leaves out 5 % on each side. For 95 % leave out 2.5 %: the 0.975 quantile.",
    )
    expect(
        np.isclose(half, t * sd / np.sqrt(n), rtol=1e-3),
        f"The interval should reach {t * sd / np.sqrt(n):.3f} to each side of the mean; yours "
        f"reaches {half:.3f}. Half its width is t * sd / sqrt(n), of the differences.",
    )


def _welch(a, b):
    u, v = a.var(ddof=1), b.var(ddof=1)
    return (len(a) - 1) * (u + v) ** 2 / (u**2 + v**2)
