"""Checks of the exercises on convolutional networks: what is dropped, and where."""

import functools
import math

import numpy as np

from lib.checks.common import (
    BY_SHARE,
    FACTORS,
    SIGMAS,
    as_array,
    brief,
    call,
    check_fresh,
    check_share,
    check_unknown_phase,
    check_value,
    expect,
    farthest,
)
from lib.masks import all_masks, mask_probabilities
from lib.theory.pooling import pooled_weights, weighted_pool

# Spatial dropout

PER_PIXEL = (
    "Single pixels of a map are dropped. Their neighbours in the map show nearly the same, so "
    "spatial dropout drops a MAP as a whole: draw a mask (n, channels, 1, 1), and let it broadcast."
)
ALL_CHANNELS = (
    "A pixel is dropped in all channels at once, or in none. It is the other way round: one draw "
    "for each channel, shared by all its pixels. Draw a mask (n, channels, 1, 1)."
)
LINES = (
    "Whole {} of a map are dropped. Axes 2 and 3 are height and width, and both share the draw of "
    "their map: draw a mask (n, channels, 1, 1)."
)
ONE_FOR_BATCH = (
    "One mask for the whole batch: every example lost the same maps. Each example needs draws of "
    "its own: draw a mask (n, channels, 1, 1)."
)
WHOLE_EXAMPLES = (
    "In each example all channels are kept or dropped together: whole examples are lost, and an "
    "empty image has no answer to learn. Each channel needs its own draw: (n, channels, 1, 1)."
)
ONE_COIN = (
    "The whole batch is kept or dropped by one draw. Each channel of each example needs its own: "
    "draw a mask (n, channels, 1, 1)."
)
SCALES = {
    "1": "The maps that are kept are not scaled. With probability keep_prob a map is there at all, "
    "so the mean is keep_prob times what it was: divide by keep_prob.",
    "keep_prob": "The maps that are kept are multiplied by keep_prob, which makes the mean smaller "
    "once more. The mask has done that already: divide by keep_prob to restore it.",
    "1/keep_prob^2": "The maps that are kept are divided by keep_prob twice. Once restores the "
    "mean.",
    "1/(1 - keep_prob)": "The maps that are kept are divided by 1 - keep_prob, the probability to "
    "drop. The mean of a mask is keep_prob: divide by that.",
    "1 - keep_prob": "The maps that are kept are multiplied by 1 - keep_prob. The mean of a mask "
    "is keep_prob: divide by that.",
}


def spatial_dropout(student):
    """Check a training pass of spatial dropout.

    Parameters
    ----------
    student : callable
        ``spatial_dropout(x, keep_prob, rng)``, returning x with whole maps dropped and the others
        divided by keep_prob. x has shape (examples, channels, height, width).

    Raises
    ------
    AssertionError
        Naming what is wrong: what shares a mask and should not, or the other way round, the scale,
        keep and drop mixed up, a seed inside.
    """
    __tracebackhide__ = True
    keep_prob, shape = 0.8, (200, 16, 3, 4)
    data = np.random.default_rng(0)

    def draw(rng, shape=shape, keep_prob=keep_prob):
        __tracebackhide__ = True
        x = data.uniform(0.5, 2, shape) * data.choice([-1, 1], shape)
        y = call(student, x=x, keep_prob=keep_prob, rng=rng)
        return as_array(y, shape, "The output", "It has the shape of x.") / x

    factors = draw(np.random.default_rng(1))
    kept = np.abs(factors) > 1e-9
    if kept.all() or not kept.any():
        _check_coin(draw, kept.all(), keep_prob)
    _check_map_masks(kept)
    maps = kept[..., 0, 0]
    _check_map_scale(factors[kept], keep_prob, maps)
    check_fresh(lambda rng: draw(rng) != 0)
    few = draw(np.random.default_rng(2), (5, 3, 7, 2), 1.0)
    expect(
        np.allclose(few, 1, atol=1e-5),
        "With keep_prob=1 nothing is dropped, and the output is x. Yours differs.",
    )
    print("spatial_dropout: whole maps, a draw for each map and example; the mean kept.")


def _check_coin(draw, is_whole, keep_prob):
    """All or nothing came out: by a coin for the whole batch, or always?"""
    __tracebackhide__ = True
    rng = np.random.default_rng(3)
    again = [(np.abs(draw(rng)) > 1e-9).any() for _ in range(60)]
    expect(all(again) == any(again), ONE_COIN)
    expect(not is_whole, "No map was dropped: where is the mask?")
    raise AssertionError("Every map of every example was dropped: nothing gets through.")


def _check_map_masks(kept):
    """Look at which pixels were kept, (examples, channels, height, width)."""
    __tracebackhide__ = True
    if not (kept == kept[..., :1, :1]).all():
        expect(not (kept == kept[..., :1]).all(), LINES.format("rows"))
        expect(
            not (kept == kept[..., :1, :]).all(),
            LINES.format("columns") + " (Were the channels on the last axis, it would be right.)",
        )
        expect(not (kept == kept[:, :1]).all(), ALL_CHANNELS)
        raise AssertionError(PER_PIXEL)
    maps = kept[..., 0, 0]
    expect(not (maps == maps[0]).all(), ONE_FOR_BATCH)
    expect(not (maps == maps[:, :1]).all(), WHOLE_EXAMPLES)


def _check_map_scale(values, keep_prob, maps):
    """Look at how many maps were kept, and by what they were multiplied."""
    __tracebackhide__ = True
    check_share(maps, keep_prob, "maps")
    expect(
        np.ptp(maps.sum(axis=1)) > 0,
        "Every example kept exactly the same number of maps. They are dropped independently of "
        "each other, so the number varies from example to example.",
    )
    name = _scale_name(values, keep_prob)
    if name is None:
        near = abs(np.mean(values) * keep_prob - 1) < (0.1 if np.ptp(values) > 1e-6 else 0.03)
        raise AssertionError(
            BY_SHARE
            if near
            else "What is kept must be x divided by keep_prob; yours is multiplied by "
            f"{values.flat[0]:.4g}, with keep_prob={keep_prob}."
        )
    expect(name == "1/keep_prob", SCALES.get(name))


def _scale_name(values, keep_prob):
    """Which of FACTORS all these values are, or None."""
    names = (n for n, of in FACTORS.items() if np.allclose(values, of(keep_prob), rtol=1e-4))
    return next(names, None)


# Max-pooling dropout

NOT_SORTED = (
    "The weights were given by PLACE in the window. It is the rank that counts: the largest that "
    "is kept comes out, wherever it stands. Sort each window first: np.sort(a, axis=1)."
)
TURNED = (
    "The order is turned round: the smallest got the weight of the largest. The largest comes out "
    "whenever it is kept, so its weight is p; the smallest needs all others dropped, p q^(n-1)."
)
RETENTION = (
    "This is {} times the sum of the window: each activation has its probability to be {}. What is "
    "needed is its probability to COME OUT: kept, and all larger ones dropped, p q^(n-i)."
)
WEIGHT_SCALING = (
    "This is p times the maximum. It is too low: where the largest is dropped, the second largest "
    "takes its place. Add the others, each with its probability to come out."
)
ARGSORT = (
    "np.argsort gives the places in order of size, not the rank of each place. Use np.sort on the "
    "window and leave the weights in order, or argsort twice."
)
ENDING = "The {}-th smallest of n comes out if it is kept and the n - i larger ones are dropped."


def pooled_mean(student):
    """Check the mean of a maximum under dropout.

    Parameters
    ----------
    student : callable
        ``pooled_mean(a, keep_prob)``, returning the mean over all masks of the largest activation
        that is kept. a holds activations of at least 0, a window a row, unsorted.

    Raises
    ------
    AssertionError
        Naming what is wrong: windows not sorted, the order turned round, probabilities to be kept
        in the place of those to come out, an exponent, weights normalised, samples.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(0)

    def run(a, keep_prob):
        __tracebackhide__ = True
        result = call(student, a=a, keep_prob=keep_prob)
        return as_array(result, (len(a),), "The result", "One number for each window.")

    for shape, keep_prob in (((6, 4), 0.7), ((3, 4), 0.4), ((5, 7), 0.85)):
        a = data.uniform(0.2, 3, shape)
        value, again = run(a, keep_prob), run(a, keep_prob)
        expect(
            np.array_equal(value, again),
            "Two calls gave different results: masks are drawn. The mean over all of them has a "
            "closed form, and needs no random numbers.",
        )
        _name_pooled(value, a, keep_prob)
    _check_special_windows(run)
    print("pooled_mean: sorted, p q^(n-i) for rank i, the rest is nothing kept.")


def _name_pooled(value, a, p):
    __tracebackhide__ = True
    q, n = 1 - p, a.shape[1]
    w, rows, right = pooled_weights(n, p), np.sort(a, axis=1), weighted_pool(a, p)
    turned = pooled_weights(n, q)
    at = farthest(value, right)[0]
    check_value(
        value,
        right,
        (
            (a @ w, NOT_SORTED),
            (np.sort(a, axis=0) @ w, f"{NOT_SORTED} (Yours sorts the columns.)"),
            (np.sort(a, axis=None).reshape(a.shape) @ w, "All windows were sorted as one list."),
            (rows @ w[::-1], TURNED),
            (a @ w[::-1], f"{NOT_SORTED} And the largest has the weight p."),
            ((a * w[np.argsort(a, axis=1)]).sum(axis=1), ARGSORT),
            (p * a.sum(axis=1), RETENTION.format("p", "kept")),
            (q * a.sum(axis=1), RETENTION.format("1 - p", "dropped")),
            (
                a.mean(axis=1),
                "This is average pooling: all weights equal. The larger an activation, the fewer "
                "others must be dropped for it to come out: its weight is p q^(n-i).",
            ),
            (p * rows[:, -1], WEIGHT_SCALING),
            (
                rows[:, -1],
                "This is the maximum of the whole window. It comes out only if the largest is "
                "kept, with probability p; otherwise a smaller one does.",
            ),
            (
                (1 - q**n) * rows[:, -1],
                "This is the maximum times the probability that anything is kept. What is kept "
                "need not be the largest.",
            ),
            (
                rows @ turned,
                "p and q = 1 - p are swapped: keep_prob is the probability to KEEP. Activation i "
                "is kept, p, and n - i larger ones are dropped, q^(n-i).",
            ),
            (
                rows @ turned[::-1],
                "p and q = 1 - p are swapped, and the order is turned round: the largest of all "
                "has the weight p, the smallest p q^(n-1).",
            ),
            (
                right / (1 - q**n),
                "The weights are normalised to a sum of 1. They sum to 1 - q^n, and the rest "
                "belongs to the mask that drops everything: then 0 comes out.",
            ),
            (
                q * right,
                "The exponent is one too large: q^(n-i+1). Of n activations n - i are larger than "
                "the i-th, and for the largest itself none must be dropped: q^0.",
            ),
            (
                right / q,
                "The exponent is one too small: q^(n-i-1). For the largest, i = n, none must be "
                "dropped: its weight is p q^0.",
            ),
            (
                right / p,
                "The factor p is missing, or taken out again. An activation comes out only if it "
                "is itself kept. And nothing is scaled by 1/p here.",
            ),
            (p * right, "This is p times too small: is the factor p in it twice?"),
            (
                rows @ (p ** np.arange(1, n + 1) * q ** np.arange(n)[::-1]),
                "The smaller activations need not be kept: what happens to them does not matter. "
                "Leave out their p^(i-1).",
            ),
        ),
        f"With keep_prob={p:g} the window {np.round(a[at], 2).tolist()} has the mean "
        f"{right[at]:.4f} over all its masks; yours is {value[at]:.4f}. {ENDING.format('i')}",
    )


def _check_special_windows(run):
    """Ties, zeros, a single activation, and nothing dropped."""
    __tracebackhide__ = True
    tied = np.array([[2.0, 5, 0, 5, 1], [3, 3, 3, 3, 3], [0, 0, 4, 0, 4]])
    value, right = run(tied, 0.6), weighted_pool(tied, 0.6)
    at = farthest(value, right)[0]
    expect(
        np.allclose(value, right, atol=1e-9),
        f"Equal activations went wrong: {tied[at].tolist()} has the mean {right[at]:.4f} at "
        f"keep_prob=0.6, yours is {value[at]:.4f}. Equal ones take their places in any order, and "
        "each has its weight: none may be left out, and none share a rank.",
    )
    expect(
        np.allclose(run(np.array([[4.0], [0.0]]), 0.3), [1.2, 0]),
        "A window of one activation a has the mean p a: it is kept, or nothing is.",
    )
    expect(
        np.allclose(run(tied, 1.0), tied.max(axis=1)),
        "With keep_prob=1 nothing is dropped, and the largest comes out. Yours differs.",
    )


# Stochastic depth

DEEPER = (
    "The survival probability rises with depth. It is the other way round: the first blocks make "
    "what all others build on, and survive nearly always; the last one survives with `last`."
)


def survival_probabilities(student):
    """Check the survival probabilities of residual blocks under linear decay.

    Parameters
    ----------
    student : callable
        ``survival_probabilities(n_blocks, last)``, returning p_l = 1 - l/L (1 - last), l from 1.

    Raises
    ------
    AssertionError
        Naming what is wrong: the direction, drop probabilities, an inverse law, where l begins and
        ends, another kind of decay.
    """
    __tracebackhide__ = True
    for n_blocks, last in ((5, 0.3), (9, 0.75), (54, 0.5), (1, 0.3), (4, 1.0)):
        result = call(student, n_blocks=n_blocks, last=last)
        expect(
            not (isinstance(result, np.ndarray) and result.shape == (n_blocks + 1,)),
            f"There are {n_blocks + 1} probabilities for {n_blocks} blocks. l = 0 is the input, "
            "and not a block: begin with l = 1.",
        )
        value = as_array(result, (n_blocks,), "The result", "One probability for each block.")
        _name_survival(value, n_blocks, last)
    print("survival_probabilities: linear in l = 1 ... L, and the last one is `last`.")


def _name_survival(value, L, last):
    __tracebackhide__ = True
    block = np.arange(1, L + 1)
    right = 1 - block / L * (1 - last)
    at = farthest(value, right)[0]

    def linear(depth):
        return 1 - depth * (1 - last)

    inverse = (
        "This is inversely proportional to depth, as the slides have it. The paper's rule is "
        "LINEAR in the depth: {}."
    )
    rule = "p_l = 1 - l/L (1 - last)"
    check_value(
        value,
        right,
        (
            (
                1 - right,
                "These are the probabilities to DROP a block. Asked for is that it survives: "
                f"{rule}.",
            ),
            (1 - right[::-1], f"These are probabilities to DROP, from the last block on. {DEEPER}"),
            (1 - (1 - last) / block, f"{inverse.format(rule)} And deeper blocks survive LESS."),
            (1 - (1 - last) * L / block, f"{inverse.format(rule)} Deeper blocks survive LESS."),
            (np.clip(1 - (1 - last) * L / block, 0, 1), inverse.format(rule)),
            (1 / block, inverse.format(rule)),
            (last * L / block, inverse.format(rule)),
            (np.minimum(last * L / block, 1), inverse.format(rule)),
            (last / block, inverse.format(rule)),
            (
                linear((block - 1) / L),
                "l begins at 0: the first block survives for sure, and the last one with more "
                "than `last`. The input is l = 0; the blocks are l = 1 to L.",
            ),
            (
                np.linspace(1, last, L),
                "The first block survives for sure: l begins at 0, and ends at `last` all the "
                f"same. l/L is 1/L for the first block: {rule}.",
            ),
            (
                linear(block / (L + 1)),
                "The last block survives with more than `last`: is l divided by L + 1? For the "
                "last block l/L is 1.",
            ),
            (
                last ** (block / L),
                "This decay is geometric: each block has the same ratio to the one before. Here "
                "it is linear: each is LESS by the same amount, (1 - last)/L.",
            ),
            (
                np.geomspace(1, last, L),
                "This decay is geometric, and its first block survives for sure. Here it is "
                f"linear: {rule}.",
            ),
            (last**block, f"This is last^l, the chance of l blocks in a row. Here: {rule}."),
            (
                np.full(L, last),
                f"All blocks have the same probability. It falls linearly with depth: {rule}.",
            ),
            (
                1 - block / L * last,
                "`last` is the survival probability of the last block, and not its probability "
                f"to be dropped: {rule}.",
            ),
            (
                np.cumprod(right),
                "These are multiplied up. The blocks are dropped independently: p_l is that of "
                "block l alone.",
            ),
        ),
        DEEPER
        if L > 1 and (np.diff(value) > 0).all()
        else f"With n_blocks={L} and last={last:g} block {at + 1} must survive with probability "
        f"{right[at]:.4f}; yours has {value[at]:.4f}. {rule}.",
    )


# A residual block

SKIP_DROPPED = (
    "When the branch is dropped, nothing is left: the output is 0. The gate belongs to the branch "
    "alone. The skip path carries x on, whatever happens: x + b f(x) / p."
)
N_PASSES = 450
GATES = {
    "example": "Each example has a gate of its own. Here one draw decides for the whole "
    "mini-batch, as in the paper. Only so can the branch be left out as a whole, which saves its "
    "time.",
    "unit": "In one pass a part of the branch is dropped and a part is not. One draw decides for "
    "the WHOLE branch and the whole mini-batch: it is a single number, 0 or 1.",
}
UNMODIFIED = (
    "There is no factor anywhere: in training the branch is there with probability p and at full "
    "strength, at test it is always there. So it is 1/p times too strong on average at test. "
    "Divide it by survival_prob in training."
)
AUTHORS_RULE = (
    "This is the authors' rule: no factor in training, and p times the branch at test. It keeps "
    "the mean too. In this exercise the factor goes into training, x + f(x) / p, so that the test "
    "needs none."
)
TWICE = (
    "At test the branch is multiplied by survival_prob, though training divides by it already. "
    "One of the two keeps the mean; both make the branch too weak. At test: x + f(x)."
)
STILL_CALLED = (
    "The branch was computed although it was dropped, and then multiplied by 0. To leave it out is "
    "half of the point: draw first, and call branch(x) only if it survives."
)
BRANCH_SCALES = {
    "1": "The branch is not scaled in training. It is there with probability p, so divide it by "
    "survival_prob.",
    "keep_prob": "The branch is multiplied by survival_prob in training. It is missing often "
    "enough already: divide by survival_prob.",
    "1/keep_prob^2": "The branch is divided by survival_prob twice. Once restores the mean.",
    "1/(1 - keep_prob)": "The branch is divided by 1 - survival_prob. It survives with "
    "survival_prob: divide by that.",
    "1 - keep_prob": "The branch is multiplied by 1 - survival_prob. Divide it by survival_prob.",
}


def residual_block(student):
    """Check a residual block with stochastic depth.

    Parameters
    ----------
    student : callable
        ``residual_block(x, branch, survival_prob, phase, rng)``, returning x + b f(x) / p in
        training, with one gate b, and x + f(x) at test.

    Raises
    ------
    AssertionError
        Naming what is wrong: the skip path dropped, a gate for each example or unit, a branch that
        is computed although dropped, the factor, survive and drop mixed up, a seed inside.
    """
    __tracebackhide__ = True
    p = 0.7
    data = np.random.default_rng(0)
    x = data.uniform(0.5, 2, (6, 3)) * data.choice([-1, 1], (6, 3))
    calls = []

    def branch(x):
        calls.append(np.array(x, dtype=float))
        return np.cos(x) + 2.5 * np.sign(x)

    f = np.cos(x) + 2.5 * np.sign(x)

    def run(phase, rng, p=p):
        __tracebackhide__ = True
        calls.clear()
        y = call(student, x=x, branch=branch, survival_prob=p, phase=phase, rng=rng)
        return as_array(y, x.shape, "The output", "It has the shape of x.")

    rng = np.random.default_rng(1)
    outputs, counts = [], []
    for _ in range(N_PASSES):
        outputs.append(run("train", rng))
        counts.append(len(calls))
    factors = (np.array(outputs) - x) / f  # runs, examples, units
    tests = [run("test", rng) for _ in range(20)]
    test_calls = len(calls)
    scale = _check_gates(np.array(outputs), factors, x, f, p, np.ptp(tests, axis=0).max() > 1e-9)
    expect(
        np.ptp(tests, axis=0).max() < 1e-9,
        "The block is still random at test. There every branch takes part, and the same input "
        "always gives the same output.",
    )
    _check_factors(tests[0], x, f, p, scale)
    survived = np.abs(factors[:, 0, 0]) > 1e-6
    counts = np.array(counts)
    expect(not counts[~survived].any(), STILL_CALLED)
    expect(
        (counts[survived] == 1).all() and test_calls == 1,
        f"The branch was called {max(counts.max(), test_calls)} times in one pass. It is the "
        "expensive part: call it once, and keep what it returns.",
    )
    check_fresh(lambda rng: np.array([run("train", rng) for _ in range(40)]))
    expect(
        np.allclose(run("train", rng, 1.0), x + f, atol=1e-5),
        "With survival_prob=1 the branch always survives, and training gives x + f(x).",
    )
    check_unknown_phase(student, x, branch, p, "predict", np.random.default_rng(0))
    print("residual_block: one gate for the branch, not computed if dropped; the mean kept.")


def _check_gates(outputs, factors, x, f, p, test_is_random):
    """Read the gates off, and return the name of the scale of the branch."""
    __tracebackhide__ = True
    empty = (np.abs(outputs) < 1e-9).all(axis=(1, 2))
    expect(not empty.any(), SKIP_DROPPED)
    expect(
        not (np.abs(outputs) < 1e-9).any(),
        "Some outputs are 0: the skip path is masked. The gate belongs to the branch, and x is "
        "carried on whatever happens.",
    )
    skip = outputs / x
    alone = np.ptp(skip, axis=(1, 2)) < 1e-6
    expect(
        np.allclose(skip[alone], 1, atol=1e-6),
        f"When the branch is dropped, the output is {skip[alone][-1:].mean():.4g} times x. The "
        "skip path carries x on as it is, and only the branch is scaled: x + b f(x) / p."
        if alone.any()
        else "",
    )
    expect(
        not (np.ptp(outputs / f, axis=(1, 2)) < 1e-6).any(),
        "In some passes the output is the branch without x: the gate is on the skip path. It "
        "belongs to the branch, and x is carried on whatever happens.",
    )
    if np.allclose(factors, factors[0], atol=1e-6):
        one = factors[0].flat[0]
        swapped = " The two phases are swapped: it is random at test." if test_is_random else ""
        raise AssertionError(
            (
                f"The branch was never used in {N_PASSES} training passes."
                if abs(one) < 1e-6
                else f"The branch was never dropped in {N_PASSES} training passes."
            )
            + (
                swapped
                or " Draw one number from rng in each call; no seed belongs in the function."
            )
        )
    is_kept = np.abs(factors) > 1e-6
    of_examples = (is_kept == is_kept[:, :, :1]).all()
    expect((is_kept == is_kept[:, :1]).all() or not of_examples, GATES["example"])
    expect((is_kept == is_kept[:, :1, :1]).all(), GATES["unit"])
    survived = is_kept[:, 0, 0]
    expect(
        not survived.all(),
        "When the branch is dropped, the output must be x itself. Yours differs from x in every "
        "pass: what is added besides the branch?",
    )
    check_share(survived, p, "branches", "survival_prob")
    values = factors[survived]
    name = _scale_name(values, p)
    if name is None:
        whole = outputs[survived] / (x + f)
        expect(
            np.ptp(whole) > 1e-4,
            f"When the branch survives, the whole sum is multiplied by {whole.flat[0]:.4g}, the "
            "skip path with it. Only the branch is divided by survival_prob: x + f(x) / p.",
        )
        raise AssertionError(
            "When the branch survives, the output must be x + f(x) / p. Yours is x plus "
            f"{values.flat[0]:.4g} times f(x) in one place and {values.flat[-1]:.4g} times in "
            f"another, with p={p}."
        )
    return name


def _check_factors(test, x, f, p, scale):
    """Look at the factor of the branch in the two phases."""
    __tracebackhide__ = True
    if scale == "1":
        expect(not np.allclose(test, x + f), UNMODIFIED)
        expect(not np.allclose(test, x + p * f), AUTHORS_RULE)
    expect(scale == "1/keep_prob", BRANCH_SCALES.get(scale))
    at = farthest(test, x + f)
    check_value(
        test,
        x + f,
        (
            (x + p * f, TWICE),
            (
                x + f / p,
                "At test the branch is divided by survival_prob. That belongs to training, where "
                "the branch is missing at times. At test: x + f(x).",
            ),
            (x, "At test the branch is missing. Every branch takes part there: x + f(x)."),
            (f, "At test the skip path is missing: x + f(x)."),
            (p * (x + f), "At test the whole sum is multiplied by survival_prob. It is x + f(x)."),
            (
                np.maximum(x + f, 0),
                "A ReLU follows the sum. It is another layer: return x + f(x) itself.",
            ),
        ),
        f"At test the output must be x + f(x), {(x + f)[at]:.4f} at {list(at)}; yours is "
        f"{test[at]:.4f}.",
    )


# Drop-path

LOST = (
    "Examples lost all of their paths, and {}. A join never loses all: if none survives, one is "
    "drawn among the k and kept."
)
DIVIDED = (
    "The sum of the survivors is divided by {}. It is a MEAN of those that survive: divide by "
    "their number, which differs from example to example."
)
MEAN_INSTEAD = (
    "If no path survives, your join seems to return the mean of all of them. Keep ONE, drawn among "
    "the k: in training a join with a single path must happen, and with none it is that."
)


def join(student):
    """Check a join with local drop-path.

    Parameters
    ----------
    student : callable
        ``join(paths, keep_prob, rng)``, returning the mean of the paths that survive, for each
        example; paths has shape (k, examples, features).

    Raises
    ------
    AssertionError
        Naming what is wrong: examples without a path, the divisor, who shares a draw, which path
        is kept if none survives, keep and drop mixed up, a seed inside.
    """
    __tracebackhide__ = True

    def weights(n_calls, k, n, keep_prob, rng):
        """The weight of each path in the outputs, (calls, examples, paths)."""
        __tracebackhide__ = True
        paths, outputs = _orthonormal(k, n, k + 2), []
        for _ in range(n_calls):
            with np.errstate(all="ignore"):
                y = call(student, paths=paths, keep_prob=keep_prob, rng=rng)
            is_float = isinstance(y, np.ndarray) and y.dtype.kind == "f"
            expect(not (is_float and np.isnan(y).any()), LOST.format("the result is NaN, 0/0"))
            outputs.append(as_array(y, (n, k + 2), "The result", "That of one path: (n, d)."))
        return _weights(np.array(outputs), paths)

    rng = np.random.default_rng(1)
    w = weights(250, 3, 12, 0.4, rng)
    kept = np.abs(w) > 1e-6
    _check_divisor(w, kept, 0.4)
    _check_shared(kept)
    check_fresh(lambda rng: np.abs(weights(1, 3, 20, 0.6, rng)) > 1e-6)
    _check_survivors(kept, 0.4)
    _check_fallback(np.abs(weights(200, 3, 2, 0.1, rng)) > 1e-6)
    for k in (1, 4):
        expect(
            np.allclose(weights(1, k, 3, 1.0, rng), 1 / k),
            f"With keep_prob=1 the join is the mean of all paths. For k={k} yours differs.",
        )
    print("join: a draw for each path and example, the mean of the survivors, never none.")


@functools.cache
def _orthonormal(k, n, d):
    """Paths that are orthogonal in each example, so that weights can be read off: (k, n, d)."""
    normal = np.random.default_rng(0).normal(size=(n, d, k))
    return np.linalg.qr(normal)[0].transpose(2, 0, 1)


def _weights(outputs, paths):
    __tracebackhide__ = True
    w = np.einsum("knd,cnd->cnk", paths, outputs)
    expect(
        np.allclose(np.einsum("cnk,knd->cnd", w, paths), outputs, atol=1e-5),
        "In one example different features come from different paths. A path is kept or dropped "
        "as a WHOLE in an example: draw an array (k, n, 1), not one number for each feature.",
    )
    return w


def _check_divisor(w, kept, p):
    """Whether the paths that survive are averaged."""
    __tracebackhide__ = True
    k, number = w.shape[-1], kept.sum(axis=-1, keepdims=True)
    expect(not kept.all(), "No path was ever dropped: where are the gates?")
    if not number.all():
        expect(kept.any(), LOST.format("the output is always 0"))
        raise AssertionError(LOST.format("the output is 0"))
    if np.allclose(w, kept / number, atol=1e-4):
        return
    for divisor, what in (
        (k, "k, the number of all paths"),
        (k * p, "k times keep_prob, the number that survive on average"),
        (p, "keep_prob"),
        (1, "nothing: it is the sum"),
        (number * p, "their number, and by keep_prob on top of that"),
        (number + 1, "their number plus 1"),
        (k - number + 1e-12, "the number of those that are dropped"),
    ):
        expect(not np.allclose(w, kept / divisor, atol=1e-4), DIVIDED.format(what))
    one = w[np.abs(w - kept / number).max(axis=-1) > 1e-4][0]
    raise AssertionError(
        "The paths that survive must have equal weights that sum to 1. In one example yours have "
        f"the weights {np.array2string(one, precision=3)}."
    )


def _check_shared(kept):
    """Which draws are shared: kept has shape (calls, examples, paths)."""
    __tracebackhide__ = True
    expect(
        (kept == kept[:, :1]).all(axis=(1, 2)).mean() < 0.3,  # so many hardly agree by chance
        "In each call all examples kept the same paths. Here each example has draws of its own: "
        "draw an array (k, n, 1).",
    )
    expect(
        not (kept.sum(axis=-1) == 1).all(),
        "Always exactly one path survives. That is global drop-path; here each path is kept with "
        "probability keep_prob, independently, so several may survive.",
    )


def _check_survivors(kept, p):
    """Compare how often each set of paths survives with what the rule gives."""
    __tracebackhide__ = True
    k = kept.shape[-1]
    masks, flat = all_masks(k)[1:].astype(bool), kept.reshape(-1, kept.shape[-1])
    seen = np.array([(flat == mask).all(axis=1).mean() for mask in masks])
    single = masks.sum(axis=1) == 1

    def is_(chances):
        tolerance = SIGMAS * np.sqrt(chances * (1 - chances) / len(flat)) + 1e-9
        return (np.abs(seen - chances) < tolerance).all()

    def rule(p, fallback=None):
        chances = mask_probabilities(all_masks(k), p)
        return chances[1:] + chances[0] * (single / k if fallback is None else fallback)

    redrawn = mask_probabilities(all_masks(k), p)[1:] / (1 - (1 - p) ** k)
    if is_(rule(p)) or is_(redrawn):
        return
    expect(
        not is_(rule(1 - p)),
        "The share of survivors is that of 1 - keep_prob: did you take keep_prob for the "
        "probability to drop a path?",
    )
    for path in range(k):
        one = single & masks[:, path]
        expect(
            not is_(rule(p, one)),
            f"If no path survives, path {path} is always the one that is kept. Draw it, each of "
            "the k with the same probability: only so has each path the mean weight 1/k, which is "
            "what the test phase relies on.",
        )
    expect(not is_(rule(p, masks.all(axis=1))), MEAN_INSTEAD)
    expect(
        not is_(rule(p**2)), "The paths survive with keep_prob squared: are the gates drawn twice?"
    )
    always = [i for i in range(k) if kept[..., i].all()]
    expect(
        not always,
        f"Path {always[0] if always else 0} always survives. No path is preferred: each may be "
        "dropped, and only if none is left one is drawn.",
    )
    share = kept.mean()
    wanted = rule(p) @ masks.mean(axis=1)
    raise AssertionError(
        f"With keep_prob={p} and {k} paths, {wanted:.0%} of them must survive, counting the one "
        f"that is kept when none does; with yours {share:.0%} do, or the wrong sets of them. Draw "
        "for each path and example: rng.random(...) < keep_prob."
    )


def _check_fallback(kept):
    """Two examples, with a keep_prob so small that a path must mostly be drawn."""
    __tracebackhide__ = True
    lone = kept[(kept.sum(axis=-1) == 1).all(axis=1)]
    same = (lone[:, 0] == lone[:, 1]).all(axis=-1).mean()
    expect(
        same < 0.5,
        "If no path survives in several examples, all of them keep the same path. Draw one for "
        "each example: rng.integers(k, size=n).",
    )


# Where dropout stands

TORCH_DROPS = (
    "torch's layers take the probability to DROP, so keep_prob={0:g} is nn.Dropout2d({1:g}). Yours "
    "drops with {0:g}: pass 1 - keep_prob."
)
BEFORE_NORM = (
    "Dropout leads straight into batch normalization. BatchNorm REMEMBERS the variance of training,"
    " with the masks in it: here {:.1f} times what it meets at prediction, where no mask is on. So "
    "it divides by too much. Put dropout first, before the convolution."
)


def make_block(student):
    """Check a convolutional block with dropout.

    Parameters
    ----------
    student : callable
        ``make_block(in_maps, out_maps, keep_prob)``, returning an ``nn.Sequential`` of dropout,
        convolution, batch normalization and ReLU.

    Raises
    ------
    AssertionError
        Naming what is wrong: a layer missing or in the wrong place, keep and drop mixed up, sizes.
    """
    __tracebackhide__ = True
    import torch  # here, so that the other checks do without it

    with torch.random.fork_rng(devices=[]):  # leaves the student's generator as it is
        torch.manual_seed(0)
        for in_maps, out_maps, keep_prob in ((4, 6, 0.8), (5, 3, 0.4)):
            sizes = {"in_maps": in_maps, "out_maps": out_maps, "keep_prob": keep_prob}
            block, again = call(student, **sizes), call(student, **sizes)
            layers = _leaves(block, torch)
            _check_layers(layers)
            _check_sizes(block, layers, in_maps, out_maps)
            _check_order(block, layers, in_maps)
            _check_drop_prob(layers["dropout"], keep_prob)
            expect(
                block is not again,
                "Two calls returned the same block. Each needs weights of its own: make new "
                "layers inside the function.",
            )
    print("make_block: dropout before the convolution, then BatchNorm, then ReLU.")


KINDS = {
    "Dropout": "dropout",
    "Dropout1d": "dropout",
    "Dropout2d": "dropout",
    "Dropout3d": "dropout",
    "SpatialDropout": "dropout",
    "Conv2d": "convolution",
    "LazyConv2d": "convolution",
    "BatchNorm2d": "batch normalization",
    "LazyBatchNorm2d": "batch normalization",
    "ReLU": "ReLU",
}


def _leaves(block, torch):
    """The layers of a block in order, by kind."""
    __tracebackhide__ = True
    expect(
        isinstance(block, torch.nn.Sequential),
        f"Return an nn.Sequential of the layers; yours is {brief(block)}.",
    )
    layers = {}
    for layer in block.modules():
        if isinstance(layer, torch.nn.Sequential | torch.nn.Identity):
            continue
        name = type(layer).__name__
        kind = KINDS.get(name)
        expect(
            kind is not None,
            f"A layer of kind {name} is not among those asked for: nn.Dropout2d (or nn.Dropout), "
            "nn.Conv2d, nn.BatchNorm2d and nn.ReLU.",
        )
        expect(
            kind not in layers,
            f"There is more than one {kind} layer. The block has one of each kind.",
        )
        layers[kind] = layer
    return layers


def _check_layers(layers):
    __tracebackhide__ = True
    expect(layers, "The block is empty: where are the layers?")
    for kind, name in (
        ("dropout", "nn.Dropout2d"),
        ("convolution", "nn.Conv2d"),
        ("batch normalization", "nn.BatchNorm2d"),
        ("ReLU", "nn.ReLU"),
    ):
        expect(kind in layers, f"The block has no {kind} layer: add {name}.")


def _check_sizes(block, layers, in_maps, out_maps):
    __tracebackhide__ = True
    import torch

    x = torch.rand(8, in_maps, 7, 9) + 0.5
    given = x.clone()
    try:
        y = block.train()(x)
    except Exception as error:
        raise AssertionError(
            f"The block of make_block({in_maps}, {out_maps}, ...) does not run on {in_maps} maps: "
            f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
        ) from error
    conv = layers["convolution"]
    expect(
        y.shape[1] == out_maps,
        f"The block must return out_maps={out_maps} maps; yours returns {y.shape[1]}.",
    )
    expect(
        conv.kernel_size == (3, 3),
        f"The convolution must be 3x3; yours is {'x'.join(map(str, conv.kernel_size))}.",
    )
    expect(
        y.shape[2:] == x.shape[2:],
        f"Maps of 7x9 came out as {y.shape[2]}x{y.shape[3]}. A 3x3 convolution keeps the size with "
        "padding=1 (and stride 1).",
    )
    expect(
        torch.equal(x, given),
        "The block changed its input: dropout works in place there. Whoever called it, a skip "
        "path for example, still needs x: leave out inplace=True.",
    )


def _check_order(block, layers, in_maps):
    """Whether dropout comes first, then convolution, BatchNorm and ReLU."""
    __tracebackhide__ = True
    order = list(layers)
    if order == ["dropout", "convolution", "batch normalization", "ReLU"]:
        return
    at = {kind: order.index(kind) for kind in order}
    others = [kind for kind in order if kind != "dropout"]
    following = order[at["dropout"] + 1] if at["dropout"] < 3 else None
    expect(
        following != "batch normalization", BEFORE_NORM.format(_remembered(block, layers, in_maps))
    )
    expect(
        others == ["convolution", "batch normalization", "ReLU"],
        f"The order is {', '.join(order)}. Without dropout it must be convolution, batch "
        "normalization, ReLU: BatchNorm sees what the convolution makes, before the ReLU cuts it.",
    )
    expect(
        following is not None,
        "Dropout is the last layer. Then what follows the block gets the noise: a pooling, or the "
        "batch normalization of another block, which would remember it. Put it FIRST, immediately "
        "before the convolution.",
    )
    raise AssertionError(
        "Dropout stands between batch normalization and ReLU. The pattern has it immediately "
        "before the convolution: make it the first layer of the block."
    )


def _remembered(block, layers, in_maps):
    """Variance that BatchNorm sees in training, by that which it meets at prediction."""
    import torch

    seen = []
    hook = layers["batch normalization"].register_forward_hook(
        lambda layer, inputs, output: seen.append(inputs[0].detach())
    )
    x = torch.rand(400, in_maps, 4, 4)
    variances = []
    for training in (True, False):
        block.train(training)(x)
        variances.append(seen[-1].var(dim=(0, 2, 3)))
    hook.remove()
    return float((variances[0] / variances[1]).mean())


def _check_drop_prob(layer, keep_prob):
    __tracebackhide__ = True
    drops = 1 - layer.keep_prob if hasattr(layer, "keep_prob") else layer.p
    if math.isclose(drops, keep_prob) and hasattr(layer, "p"):
        raise AssertionError(TORCH_DROPS.format(keep_prob, 1 - keep_prob))
    expect(
        math.isclose(drops, 1 - keep_prob, abs_tol=1e-6),
        f"With keep_prob={keep_prob:g} dropout must drop with probability {1 - keep_prob:g}; yours "
        f"drops with {drops:g}.",
    )
    expect(
        type(layer).__name__ not in ("Dropout1d", "Dropout3d"),
        f"nn.{type(layer).__name__} is made for other data. A batch of maps has four dimensions: "
        "nn.Dropout2d drops its maps, nn.Dropout its pixels.",
    )
