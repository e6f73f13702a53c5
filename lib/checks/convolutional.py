"""Checks of the exercises on convolutional networks: what is dropped, and where."""

import copy
import functools
import math

import numpy as np
from scipy.stats import binom

from lib.checks.engine import Array, Missed, brief, exercise, found, silenced, summary_of
from lib.checks.traits import (
    BY_SHARE,
    SCALES,
    SIGMAS,
    coins,
    costly,
    factor,
    factor_name,
    first,
    fresh,
    independent,
    torch_seeded,
)
from lib.masks import all_masks, mask_probabilities

summary = summary_of("convolutional")


def is_(output, *values):
    return any(np.allclose(output, value, 1e-4, 1e-6) for value in values)


# Spatial dropout

MAPS = "draw a mask (n, channels, 1, 1)"
FIXED = "fixed-total-per-example"
SAY_MAPS = {
    "shared-by-maps": "In each example all channels are kept or dropped together: whole images are "
    f"lost, and an empty one has no answer to learn. Each channel needs its own draw: {MAPS}.",
    FIXED: "All examples of a batch kept the same number of maps, or nearly so. They are dropped "
    "independently of each other, so the number varies from example to example.",
}


def scale(values, keep_prob, what, p="keep_prob"):
    """Whether all `values` are 1/keep_prob."""
    one = factor(values, np.ones_like(values))
    name = factor_name(one, keep_prob)
    numbers = f"{one:.4g}" if one else f"numbers from {values.min():.4g} to {values.max():.4g}"
    text = f"{{what}} kept are multiplied by {numbers}, with {{p}}={keep_prob:g}: divide by {{p}}."
    label, text = SCALES.get(name, ("other-scale", text))
    return first((name != "1/keep_prob", label, text.format(what=what, p=p)))


def whole_maps(ratio, x, kept, keep_prob):
    """Whether maps are kept and dropped as wholes, and not pixels, rows or columns."""
    by_row, by_column = (kept == kept[..., :1]).all(), (kept == kept[..., :1, :]).all()
    y, plain = ratio * x, np.isclose(ratio[..., None], (1, 1 / keep_prob)).any(axis=-1).mean()
    off = first(
        (is_(y, y.round()) and kept.any(), "whole-numbers",
         "The output holds whole numbers only, and x does not: is it rounded, or cast to int?"),
        (kept.any() and y[kept].std() < 1e-6, "mask-alone",
         "The output is the mask alone, without x: multiply x by it."),
        (kept.any() and not kept[:, x < 0].any(), "activation", "All negative numbers became 0, as "
         "behind a ReLU. Dropout has no activation: return x times the mask, by keep_prob."),
        (kept.all() and 0.2 < plain < 0.99, "dropped-not-zero",
         "Maps that are dropped are not 0: something else stands in their place. A dropped map "
         "says nothing: multiply it by 0."),
        (kept.all() and np.ptp(ratio) > 1e-3, "noise-for-mask",
         "No map was dropped: maps are multiplied by random numbers, and none of these is 0. Here "
         f"a map is kept whole or dropped whole: {MAPS}."),
        (kept.all(), "no-mask", "No map was dropped: where is the mask?"),
    )  # fmt: skip
    if off or (by_row and by_column):
        return off
    return first(
        (by_row, "whole-rows", "Whole rows of a map are dropped. Axes 2 and 3 are height and "
         f"width, and both share the draw of their map: {MAPS}."),
        (by_column, "whole-columns", "Whole columns of a map are dropped. Axes 2 and 3 are height "
         f"and width, and both share the draw of their map: {MAPS}. (Were the channels on the last "
         "axis, as in Keras, it would be right.)"),
        ((kept == kept[:, :, :1]).all(), "shared-by-channels",
         "A pixel is dropped in all channels at once, or in none. It is the other way round: one "
         f"draw for each channel, shared by all its pixels. {MAPS.capitalize()}."),
        (True, "single-pixels", "Single pixels of a map are dropped. Their neighbours in the map "
         "show nearly the same, so spatial dropout drops a MAP as a whole: "
         f"{MAPS}, and let it broadcast."),
    )  # fmt: skip


def map_coins(maps, keep_prob):
    """Whether maps, (calls, examples, channels), are kept by independent coins."""
    total, share = maps.sum(axis=2), maps.mean()
    few = total.var() < 0.5 * maps.shape[2] * share * (1 - share)
    apart = (maps != maps[:, :1]).any() and (maps != maps[:, :, :1]).any()
    fixed = apart and (few or not np.ptp(total, axis=1).any())
    off = first((fixed, FIXED, SAY_MAPS[FIXED])) or list(
        coins(maps, keep_prob, ("call", "example", "map"), "maps", sentences=SAY_MAPS)
    )
    return off or first(
        (keep_prob < 0.5 and total.all(), "never-empty",
         "An example that lost all of its maps gets one back. Maps are independent of each other: "
         "it may happen that an example loses all of them."),
    )  # fmt: skip


def spatial_traits(run, data):
    def ratios(x, keep_prob, rng):
        return run(x=x, keep_prob=keep_prob, rng=rng) / x

    for keep_prob, shape in ((0.8, (12, 9, 3, 4)), (0.3, (10, 5, 6, 2))):
        x, rng = data.uniform(0.5, 2, shape) * data.choice([-1, 1], shape), np.random.default_rng(1)
        ratio = np.array([ratios(x, keep_prob, rng) for _ in range(50)])
        kept = np.abs(ratio) > 1e-9
        off = whole_maps(ratio, x, kept, keep_prob)
        if not off:
            off = map_coins(kept[..., 0, 0], keep_prob) + (
                by_share(ratio, kept) or scale(ratio[kept], keep_prob, "The maps that are")
                if kept.any() else []
            )  # fmt: skip
        yield from off
        if off:
            return
    x = data.uniform(0.5, 2, (5, 3, 7, 2))
    yield from fresh(lambda rng: ratios(x, 0.5, rng) != 0)
    yield from found(
        not np.allclose(ratios(x, 1.0, np.random.default_rng(0)), 1, atol=1e-5), "keep-prob-1",
        "With keep_prob=1 nothing is dropped, and the output is x. Yours differs.",
    )  # fmt: skip


def by_share(ratio, kept):
    """Whether kept maps were divided by the share of the maps kept: in all, or in parts."""
    maps = kept[..., 0, 0]
    for axes in ((1, 2), (2,), (1,), (0, 1, 2)):
        share = maps.mean(axes, keepdims=True)[..., None, None]
        off = np.ptp(share) > 0 and np.allclose((ratio * share)[kept], 1, rtol=1e-4)
        if off:
            return first((True, "by-share", BY_SHARE))
    return []


@exercise(
    returns=Array("The output", lambda x: x.shape, "It has the shape of x."),
    traits=spatial_traits,
    done="whole maps, a draw for each map and example; the mean kept.",
)
def spatial_dropout(
    x, keep_prob, rng, *, of=lambda n, c, h, w: (n, c, 1, 1), scale=lambda p: 1 / p,
    keep=lambda p: p,
):  # fmt: skip
    """Whole maps dropped, the others divided by `keep_prob`."""
    return x * (rng.random(of(*x.shape)) < keep(keep_prob)) * scale(keep_prob)


spatial_dropout.wrong(
    "one-coin",
    "The whole batch is kept or dropped by one draw. Each channel of each example needs its own: "
    f"{MAPS}.",
    {"of": lambda n, c, h, w: ()},
    {"of": lambda n, c, h, w: (1, 1, 1, 1)},
)


# Stochastic depth


def survival_cases(data):
    ordinary = [(5, 0.3), (9, 0.75), (5, 0.75), (54, 0.5), (3, 0.1), (5, 0.5)]
    return [[{"n_blocks": n_blocks, "last": last} for n_blocks, last in pairs]
            for pairs in (ordinary, [(1, 0.3), (4, 1.0)])]  # fmt: skip


@exercise(
    returns=Array("The result", lambda n_blocks: (n_blocks,), "One probability for each block."),
    cases=survival_cases,
    otherwise="p_l = 1 - l/L (1 - last).",
    done="linear in l = 1 ... L, and the last one is `last`.",
)
def survival_probabilities(
    n_blocks, last, *, depth=lambda b, L: b / L, rule=lambda depth, last: 1 - depth * (1 - last),
    after=lambda p: p,
):  # fmt: skip
    """Linear decay from 1 at the input to `last` at the last block."""
    return after(rule(depth(np.arange(1, n_blocks + 1), n_blocks), last))


survival_probabilities.wrong("with-the-input",
    "There is one probability too many. l = 0 is the input, and not a block: begin with l = 1.",
    lambda L, last: np.linspace(1, last, L + 1),
    lambda L, last: np.linspace(1, last, L + 1).tolist(),
    {"depth": lambda b, L: np.arange(L + 2) / L})  # fmt: skip
survival_probabilities.wrong("drop-for-survive",
    "These are the probabilities to DROP a block. Asked for is that it survives: p_l = 1 - l/L (1 "
    "- last).",
    {"after": lambda p: 1 - p},
    lambda L, last: 1 - survival_probabilities.right(L, last)[::-1])  # fmt: skip
INVERSE = {"depth": lambda b, L: 1 / b}
survival_probabilities.wrong("inverse",
    "This is inversely proportional to depth, as the slides have it. The paper's rule is LINEAR "
    "in the depth, and deeper blocks survive LESS: p_l = 1 - l/L (1 - last).",
    INVERSE, {"depth": lambda b, L: L / b},
    {"depth": lambda b, L: L / b, "after": lambda p: np.clip(p, 0, 1)},
    lambda L, last: 1 / np.arange(1, L + 1), lambda L, last: last / np.arange(1, L + 1),
    lambda L, last: last * L / np.arange(1, L + 1),
    lambda L, last: np.minimum(1, last * L / np.arange(1, L + 1)),
    lambda L, last: 1 - last / np.arange(1, L + 1),
    {"rule": lambda depth, last: last + (1 - last) / depth, "depth": lambda b, L: b})  # fmt: skip
survival_probabilities.wrong("begins-at-0",
    "l begins at 0: the first block survives for sure, and the last one with more than `last`. "
    "The input is l = 0; the blocks are l = 1 to L.",
    {"depth": lambda b, L: (b - 1) / L})  # fmt: skip
survival_probabilities.wrong("first-for-sure",
    "The first block survives for sure: l begins at 0, and ends at `last` all the same. l/L is "
    "1/L for the first block: p_l = 1 - l/L (1 - last).",
    lambda L, last: np.linspace(1, last, L),
    {"depth": lambda b, L: (b - 1) / max(L - 1, 1)})  # fmt: skip
survival_probabilities.wrong("ends-too-early",
    "The last block survives with more than `last`: is l divided by L + 1? For the last block l/L "
    "is 1.", {"depth": lambda b, L: b / (L + 1)})  # fmt: skip
survival_probabilities.wrong("ends-too-late",
    "l/L is larger than 1 for the last block: l goes from 1 to L, and is divided by L.",
    {"depth": lambda b, L: b / max(L - 1, 1)}, {"depth": lambda b, L: (b + 1) / L},
    {"depth": lambda b, L: b})  # fmt: skip
survival_probabilities.wrong("geometric",
    "This decay is geometric: each block has the same ratio to the one before. Here it is linear: "
    "each is LESS by the same amount, (1 - last)/L.",
    {"rule": lambda depth, last: last ** depth},
    lambda L, last: np.geomspace(1, last, L) if last > 0 else np.array([1.0, *[0] * (L - 1)]),
    {"rule": lambda depth, last: np.exp(-depth * (1 - last))},
    {"rule": lambda depth, last: np.exp(depth * np.log(last))})  # fmt: skip
survival_probabilities.wrong("blocks-in-a-row",
    "This is last^l, the chance of l blocks in a row. Blocks are dropped independently, and p_l "
    "is that of block l alone: p_l = 1 - l/L (1 - last).",
    lambda L, last: last ** np.arange(1, L + 1), lambda L, last: last ** np.arange(L))  # fmt: skip
survival_probabilities.wrong("multiplied-up",
    "These are multiplied up, or added up. The blocks are dropped independently: p_l is that of "
    "block l alone.", {"after": np.cumprod}, {"after": np.cumsum})  # fmt: skip
survival_probabilities.wrong("constant",
    "All blocks have the same probability. It falls linearly with depth: p_l = 1 - l/L (1 - last).",
    lambda L, last: np.full(L, last), lambda L, last: np.full(L, (1 + last) / 2),
    lambda L, last: np.full(L, 1 - (1 - last) / L), {"depth": lambda b, L: 1 + 0 * b},
    {"depth": lambda b, L: 0 * b})  # fmt: skip
survival_probabilities.wrong("last-is-dropped",
    "`last` is the survival probability of the last block, and not its probability to be dropped: "
    "p_l = 1 - l/L (1 - last).", {"rule": lambda depth, last: 1 - depth * last})  # fmt: skip
survival_probabilities.wrong("to-zero",
    "These fall to 0 at the last block, whatever `last` is. The last block survives with `last`: "
    "p_l = 1 - l/L (1 - last).",
    {"rule": lambda depth, last: 1 - depth},
    {"rule": lambda depth, last: last * (1 - depth)},
    {"depth": lambda b, L: (b - 1) / L, "rule": lambda d, last: last * (1 - d)})  # fmt: skip
survival_probabilities.wrong("always-half",
    "Is 0.5 built in, the paper's value of `last`? It must follow the argument: p_l = 1 - l/L (1 "
    "- last).", {"rule": lambda depth, last: 1 - depth * 0.5})  # fmt: skip
survival_probabilities.wrong("not-linear",
    "Both ends are right, but the way between is not a straight line: each block must survive "
    "with (1 - last)/L less than the one before.",
    *({"depth": lambda b, L, power=power: (b / L) ** power} for power in (2, 0.5, 3)),
    {"depth": lambda b, L: (1 - np.cos(np.pi * b / L)) / 2},
    {"depth": lambda b, L: b * (b + 1) / (L * (L + 1))})  # fmt: skip
survival_probabilities.wrong("rounded",
    "The probabilities are rounded, or whole numbers. Is there a // or a dtype=int?",
    {"depth": lambda b, L: b // L}, {"after": lambda p: p.round(1)},
    {"after": lambda p: p.round(2)}, {"after": lambda p: p.astype(int)})  # fmt: skip
survival_probabilities.wrong("steps-of-last",
    "These fall by a fixed step that does not lead to `last` at block L. The steps are (1 - "
    "last)/L each: p_l = 1 - l/L (1 - last).",
    {"rule": lambda depth, last: 1 - (1 - last) * depth, "depth": lambda b, L: b / 10},
    {"depth": lambda b, L: b / (2 * L)}, {"depth": lambda b, L: b / 54},
    lambda L, last: 1 - np.arange(1, L + 1) / L * (1 - last) / L)  # fmt: skip
survival_probabilities.wrong("parentheses",
    "Parentheses are missing or in the wrong place: 1 - last belongs together, and multiplies "
    "l/L. p_l = 1 - (l / L) * (1 - last).",
    {"rule": lambda depth, last: 1 - depth - last},
    {"rule": lambda depth, last: 1 - depth * 1 - last},
    {"rule": lambda depth, last: 1 - depth / (1 - last) if last < 1 else 1 + 0 * depth},
    {"rule": lambda depth, last: (1 - depth) * (1 - last)})  # fmt: skip
survival_probabilities.wrong("rises-with-depth",
    "The survival probability rises with depth. It is the other way round: the first blocks make "
    "what all others build on, and survive nearly always; the last one survives with `last`.",
    {"after": lambda p: p[::-1]}, {"depth": lambda b, L: (L - b) / L},
    {"rule": lambda depth, last: last + depth * (1 - last)},
    lambda L, last: np.linspace(last, 1, L), {"rule": lambda depth, last: depth})  # fmt: skip


# A residual block

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
BELONGS = "The gate belongs to the branch alone. The skip path carries x on, whatever happens."
OUTSIDE = "Only the branch has a gate and a factor: return x + b f(x) / p, and nothing around it."


def gates(outputs, x, f, p, test):
    """Read the gates off, (passes, examples, units): whether they are one number for each pass."""
    small = np.abs(outputs) < 1e-9
    skip = outputs / x
    alone = np.ptp(skip, axis=(1, 2)) < 1e-6  # nothing but the skip path
    factors = (outputs - x) / f
    kept = np.abs(factors) > 1e-6
    constant, one = np.allclose(factors, factors[0], atol=1e-6), np.ptp(factors[0]) < 1e-6
    whole = (kept == kept[:, :1, :1]).all()
    others = [g(x + b * f) for g in OTHERS for b in (1, 1 / p, p, 0)]
    of_branch = [g(f) for g in OTHERS]
    return first(
        (is_(outputs, outputs.round()), "whole-numbers",
         "The output holds whole numbers only, and x does not: is it rounded, or cast to int?"),
        (all(is_(y, *others) for y in outputs[:9]) and is_(test, *others), "activation-after",
         "An activation follows the sum. It is another layer: return x + f(x) itself."),
        (is_(test, *(x + b for b in of_branch)), "activation-on-branch",
         "An activation is applied to the branch. `branch` is the whole function f: add what it "
         "returns."),
        ((small.any(axis=(1, 2)) & ~small.all(axis=(1, 2))).any(), "skip-masked",
         f"Some outputs are 0: the skip path is masked. {BELONGS}"),
        (small.any(), "skip-dropped",
         f"When the branch is dropped, nothing is left: the output is 0. {BELONGS}"),
        (alone.any() and not np.allclose(skip[alone], 1, atol=1e-6), "skip-scaled",
         "When the branch is dropped, the output must be x itself; yours is x times "
         f"{skip[alone].ravel()[-1:].sum():.4g}. The skip path carries x on as it is, and only the "
         "branch is scaled: x + b f(x) / p."),
        ((np.ptp(outputs / f, axis=(1, 2)) < 1e-6).any(), "gate-on-skip",
         "In some passes the output is the branch without x: the gate is on the skip path. " +
         BELONGS),
        (constant and np.isnan(test).all(), "phases-swapped",
         "The two phases are swapped: the block is random at test, and not in training."),
        (constant and one and not kept.any(), "never-used",
         f"The branch was never used in {len(outputs)} training passes. Draw one number from "
         "rng in each call, and use the branch if it is below survival_prob."),
        (constant and one, "never-dropped",
         f"The branch was never dropped in {len(outputs)} training passes. Draw one number from "
         "rng in each call, and drop the branch unless it is below survival_prob."),
        (not whole and (kept == kept[:, :, :1]).all(), "gate-per-example",
         "Each example has a gate of its own. Here one draw decides for the whole mini-batch, as "
         "in the paper. Only so can the branch be left out as a whole, which saves its time."),
        (not whole, "gate-per-unit", "In one pass a part of the branch is dropped and a part is "
         "not. One draw decides for the WHOLE branch and the whole mini-batch: it is a single "
         "number, 0 or 1."),
        (kept.all() and np.ptp(factors) > 1e-3 and np.ptp(factors, axis=(1, 2)).max() < 1e-6,
         "noise-for-gate", "The branch is multiplied by a random number that is never 0. A gate "
         "is 0 or 1: the branch is there or it is not."),
        (kept.all(), "skip-changed", "The output must be x itself when the branch is dropped. "
         f"Yours differs from x in every pass. {OUTSIDE}"),
    )  # fmt: skip


OTHERS = (lambda z: np.maximum(z, 0), np.tanh, lambda z: 1 / (1 + np.exp(-z)))


def branch_factors(survived, test, x, f, p):
    """What is off where the branch survives, and at test."""
    whole = survived / (x + f)
    one, at_test = (factor((y - x) / f, np.ones_like(y)) or math.nan for y in (survived, test))
    return first(
        (math.isnan(one) and np.ptp(whole) < 1e-4, "sum-scaled",
         f"When the branch survives, the whole sum is multiplied by {whole.flat[0]:.4g}, the skip "
         "path with it. Only the branch is divided by survival_prob: x + f(x) / p."),
        (math.isnan(one), "branch-off", "When the branch survives, the output is x + f(x) / p. "
         "Yours is x plus something that is no multiple of f(x): is f taken of x itself, and x "
         "added as it is?"),
        (is_(one, 1) and is_(at_test, 1), "unmodified", UNMODIFIED),
        (is_(one, 1) and is_(at_test, p), "authors-rule", AUTHORS_RULE),
    ) or scale((survived - x) / f, p, "The branches that are", "survival_prob") or first(
        (is_(test, x + p * f), "scaled-twice", "At test the branch is multiplied by survival_prob, "
         "though training divides by it already. One of the two keeps the mean; both make the "
         "branch too weak. At test: x + f(x)."),
        (is_(test, x + f / p), "divided-at-test", "At test the branch is divided by survival_prob. "
         "That belongs to training, where the branch is missing at times. At test: x + f(x)."),
        (is_(test, x + (1 - p) * f), "drop-for-survive-at-test", "At test the branch is multiplied "
         "by 1 - survival_prob. It takes part in full there: x + f(x)."),
        (is_(test, x), "no-branch-at-test",
         "At test the branch is missing. Every branch takes part there: x + f(x)."),
        (is_(test, f, p * f), "no-skip-at-test", "At test the skip path is missing: x + f(x)."),
        (is_(test, p * (x + f)), "sum-scaled-at-test",
         "At test the whole sum is multiplied by survival_prob. It is x + f(x)."),
        (is_(test, (x + f) / 2), "averaged-at-test",
         "At test you take the mean of x and f(x). A residual block adds them: x + f(x)."),
        (is_(test, *(g(x + f) for g in OTHERS)), "activation-at-test",
         "At test an activation follows the sum. It is another layer: return x + f(x) itself."),
        (is_(test, x - f), "subtracted-at-test", "At test the branch is subtracted: x + f(x)."),
        (not is_(test, x + f), "test-off", "At test the output must be x + f(x): "
         f"{(x + f).flat[0]:.4f} in the first place; yours is {test.flat[0]:.4f}."),
    )  # fmt: skip


def residual_traits(run, data):
    for p, shape in ((0.8, (6, 3)), (0.35, (4, 5))):
        x = data.uniform(0.5, 2, shape) * data.choice([-1, 1], shape)
        calls = []

        def branch(x, calls=calls):
            calls.append(np.array(x, dtype=float))
            return np.cos(x) + 2.5 * np.sign(x)

        def passes(phase, n, rng, p=p, x=x, branch=branch, calls=calls):
            outputs, counts = [], []
            for _ in range(n):
                calls.clear()
                outputs.append(run(x=x, branch=branch, survival_prob=p, phase=phase, rng=rng))
                counts.append(len(calls))
            return np.array(outputs), np.array(counts)

        rng, f = np.random.default_rng(data), branch(x)
        outputs, counts = passes("train", 450, rng)
        tests, test_counts = passes("test", 30, rng)
        random = np.ptp(tests, axis=0).max() > 1e-9
        off = gates(outputs, x, f, p, np.nan * x if random else tests[0]) or first(
            (random, "gate-at-test", "The block is still random at test. There every branch takes "
             "part, and the same input always gives the same output."))  # fmt: skip
        survived = np.abs(outputs - x).max(axis=(1, 2)) > 1e-6
        off = off or list(coins(survived, p, ("pass",), "branches", name="survival_prob"))
        off = off or branch_factors(outputs[survived], tests[0], x, f, p) or first(
            (counts[~survived].any(), "computed-though-dropped",
             "The branch was computed although it was dropped, and then multiplied by 0. To leave "
             "it out is half of the point: draw first, and call branch(x) only if it survives."),
            ((counts[survived] > 1).any() or (test_counts != 1).any(), "called-often",
             f"The branch was called {max(counts.max(), test_counts.max())} times in one pass. It "
             "is the expensive part: call it once, and keep what it returns."),
        )  # fmt: skip
        yield from off
        if off:
            return
        yield from fresh(lambda rng, passes=passes: passes("train", 40, rng)[0])
        yield from found(
            not is_(passes("train", 1, rng, p=1.0)[0], x + f), "survival-prob-1",
            "With survival_prob=1 the branch always survives, and training gives x + f(x).",
        )  # fmt: skip


@exercise(
    returns=Array("The output", lambda x: x.shape, "It has the shape of x."),
    traits=residual_traits,
    phases=lambda data: {"x": np.ones((2, 3)), "branch": np.cos, "survival_prob": 0.7},
    done="one gate for the branch, not computed if dropped; the mean kept.",
)
def residual_block(x, branch, survival_prob, phase, rng):
    """x + b f(x) / p in training, with one gate b, and x + f(x) at test."""
    if phase not in ("train", "test"):
        raise ValueError(phase)
    if phase == "test":
        return x + branch(x)
    return x + branch(x) / survival_prob if rng.random() < survival_prob else x


# Max-pooling dropout


def pooled_cases(data):
    pairs = (((6, 4), 0.7), ((3, 5), 0.4), ((5, 7), 0.85))
    ordinary = [{"a": data.uniform(0.2, 3, shape), "keep_prob": p} for shape, p in pairs]
    ordinary.append({"a": ordinary[0]["a"], "keep_prob": 0.35})
    tied = np.array([[2.0, 5, 0, 5, 1], [3, 3, 3, 3, 3], [0, 0, 4, 0, 4]])
    edges = [{"a": tied, "keep_prob": p} for p in (0.6, 0.25, 1.0)]
    return [ordinary, edges + [{"a": np.array([[4.0], [0.0]]), "keep_prob": p} for p in (0.3, 1.0)]]


def pooled_traits(run, data):
    run(a=data.random((1, 4)), keep_prob=0.5)
    yield from costly(lambda: run(a=data.random((1, 16)), keep_prob=0.5))


@exercise(
    returns=Array("The result", lambda a: (len(a),), "One number for each window."),
    cases=pooled_cases,
    traits=pooled_traits,
    otherwise="The i-th smallest of n comes out if it is kept and the n - i larger ones are "
    "dropped; if nothing is kept, 0 does.",
    chance="Two calls gave different results: masks are drawn. The mean over all of them has a "
    "closed form, and needs no random numbers.",
    done="sorted, p q^(n-i) for rank i, the rest is nothing kept.",
)
def pooled_mean(
    a, keep_prob, *, order=lambda a: np.sort(a, axis=1), turned=False, kept=lambda p: p,
    weight=lambda p, larger, n: p * (1 - p) ** larger, after=lambda y, p, n: y,
):  # fmt: skip
    """Mean over all masks of the largest activation that is kept."""
    n, p = a.shape[1], kept(keep_prob)
    larger = np.arange(n) if turned else np.arange(n)[::-1]
    return after(order(a) @ (weight(p, larger, n) * np.ones(n)), p, n)


def by_rank_of_place(a, p):
    w = p * (1 - p) ** np.arange(a.shape[1])[::-1]
    return (a * w[np.argsort(a, axis=1)]).sum(axis=1)


def shared_ranks(a, p, beaten=np.greater):
    larger = beaten(a[:, None], a[:, :, None]).sum(axis=2)
    return (a * p * (1 - p) ** larger).sum(axis=1)


pooled_mean.wrong("not-sorted",
    "The weights were given by PLACE in the window. It is the rank that counts: the largest that "
    "is kept comes out, wherever it stands. Sort each window first: np.sort(a, axis=1).",
    {"order": lambda a: a}, {"order": lambda a: a[:, ::-1]},
    {"order": lambda a: np.sort(a, axis=0)},
    {"order": lambda a: np.sort(a, axis=None).reshape(a.shape)})  # fmt: skip
pooled_mean.wrong("argsort-for-rank",
    "np.argsort gives the places in order of size, not the rank of each place. Use np.sort on the "
    "window and leave the weights in order, or argsort twice.",
    by_rank_of_place, {"order": lambda a: np.argsort(a, axis=1)},
    {"order": lambda a: np.argsort(np.argsort(a, axis=1), axis=1)})  # fmt: skip
pooled_mean.wrong("turned-round",
    "The order is turned round: the smallest got the weight of the largest. The largest comes out "
    "whenever it is kept, so its weight is p; the smallest needs all others dropped, p q^(n-1).",
    {"turned": True})  # fmt: skip
pooled_mean.wrong("kept-for-coming-out",
    "This is the sum of the window, times one factor. That a number is kept, or dropped, is not "
    "enough. What is needed is its probability to COME OUT: kept, and all larger ones dropped, p "
    "q^(n-i).",
    {"weight": lambda p, larger, n: p}, {"weight": lambda p, larger, n: 1 - p},
    {"weight": lambda p, larger, n: 1})  # fmt: skip
pooled_mean.wrong("average-pooling",
    "This is average pooling: all weights equal. The larger an activation, the fewer others must "
    "be dropped for it to come out: its weight is p q^(n-i).",
    {"weight": lambda p, larger, n: 1 / n}, {"weight": lambda p, larger, n: p / n})  # fmt: skip
pooled_mean.wrong("weight-scaling",
    "This is p times the maximum. It is too low: where the largest is dropped, the second largest "
    "takes its place. Add the others, each with its probability to come out.",
    {"weight": lambda p, larger, n: p * (larger == 0)})  # fmt: skip
pooled_mean.wrong("plain-maximum",
    "This is the maximum of the whole window. It comes out only if the largest is kept, with "
    "probability p; otherwise a smaller one does.",
    {"weight": lambda p, larger, n: larger == 0},
    {"weight": lambda p, larger, n: (larger == 0) / p})  # fmt: skip
pooled_mean.wrong("maximum-or-nothing",
    "This is the maximum times the probability that anything is kept. What is kept need not be "
    "the largest.",
    {"weight": lambda p, larger, n: (larger == 0) * (1 - (1 - p) ** n)})  # fmt: skip
pooled_mean.wrong("few-largest-only",
    "Only the largest few are counted. If these are dropped, the next may come out, and so on: "
    "every activation has its weight, p q^(n-i).",
    {"weight": lambda p, larger, n: p * (1 - p) ** larger * (larger < 2)},
    {"weight": lambda p, larger, n: p * (1 - p) ** larger * (larger < 3)},
    {"weight": lambda p, larger, n: np.where(larger == 0, p, (1 - p) * (larger == 1))})  # fmt: skip
pooled_mean.wrong("drop-for-keep",
    "p and q = 1 - p are swapped: keep_prob is the probability to KEEP. Activation i is kept, p, "
    "and n - i larger ones are dropped, q^(n-i).",
    {"kept": lambda p: 1 - p}, {"kept": lambda p: 1 - p, "turned": True})  # fmt: skip
pooled_mean.wrong("normalised",
    "The weights are normalised to a sum of 1. They sum to 1 - q^n, and the rest belongs to the "
    "mask that drops everything: then 0 comes out.",
    {"after": lambda y, p, n: y / (1 - (1 - p) ** n)})  # fmt: skip
pooled_mean.wrong("remainder-given-away",
    "The weight that is left, q^n, was given to an activation. It belongs to the mask that drops "
    "everything: then 0 comes out, whatever the window holds.",
    {"weight": lambda p, larger, n: (1 - p) ** larger * np.where(larger == n - 1, 1, p)},
    {"weight": lambda p, larger, n: p * (1 - p) ** larger + (larger == 0) * (1 - p) ** n},
    lambda a, p: pooled_mean.right(a, p) + (1 - p) ** a.shape[1] * a.mean(axis=1))  # fmt: skip
pooled_mean.wrong("exponent-too-large",
    "The exponent is one too large: q^(n-i+1). Of n activations n - i are larger than the i-th, "
    "and for the largest itself none must be dropped: q^0.",
    {"weight": lambda p, larger, n: p * (1 - p) ** (larger + 1)})  # fmt: skip
pooled_mean.wrong("exponent-too-small",
    "The exponent is one too small: q^(n-i-1). For the largest, i = n, none must be dropped: its "
    "weight is p q^0.",
    {"weight": lambda p, larger, n: p * (1 - p) ** (larger - 1.0) if p < 1 else larger == 0},
    {"weight": lambda p, larger, n: p * (1 - p) ** (larger - 1.0) * (p < 1)})  # fmt: skip
pooled_mean.wrong("no-factor-p",
    "The factor p is missing, or taken out again. An activation comes out only if it is itself "
    "kept. And nothing is scaled by 1/p here.",
    {"weight": lambda p, larger, n: (1 - p) ** larger})  # fmt: skip
pooled_mean.wrong("factor-p-twice",
    "This is p times too small: is the factor p in it twice?",
    {"after": lambda y, p, n: y * p})  # fmt: skip
pooled_mean.wrong("by-window-size",
    "This is n times too large or too small, with n activations in a window. The weights are "
    "probabilities already: neither a mean nor a count is taken.",
    {"after": lambda y, p, n: y * n}, {"after": lambda y, p, n: y / n})  # fmt: skip
pooled_mean.wrong("windows-reordered",
    "The numbers are right, and stand in another order: the first is that of the first window.",
    {"after": lambda y, p, n: y[::-1]}, {"after": lambda y, p, n: np.sort(y)})  # fmt: skip
pooled_mean.wrong("smaller-ones-kept",
    "The smaller activations need not be kept, nor dropped: what happens to them does not matter. "
    "Only the activation itself and the larger ones have a factor: p q^(n-i).",
    {"weight": lambda p, larger, n: p ** (n - larger) * (1 - p) ** larger},
    {"weight": lambda p, larger, n: p * (1 - p) ** (n - 1)})  # fmt: skip
pooled_mean.wrong("larger-ones-kept",
    "The larger ones must be dropped for the i-th to come out, each with probability q: q^(n-i), "
    "and p once for itself.",
    {"weight": lambda p, larger, n: p ** (larger + 1)},
    {"weight": lambda p, larger, n: p * p ** larger * (larger > 0) + p * (larger == 0) ** 1},
    {"weight": lambda p, larger, n: p * (1 - p) * larger + p * (larger == 0)})  # fmt: skip
pooled_mean.wrong(
    "binomial",
    "These are binomial probabilities: of HOW MANY are kept. What counts is which is the largest "
    "kept: the i-th comes out if it is kept and all n - i larger ones are dropped, p q^(n-i).",
    *(
        {"weight": lambda p, larger, n, shift=shift: binom.pmf(n - larger - shift, n - shift, p)}
        for shift in (0, 1)
    ),
)
pooled_mean.wrong("cumulative",
    "These are probabilities that at least one of several is kept, 1 - q^m. Of the i-th you need "
    "that exactly it comes out: the difference of two of these, p q^(n-i).",
    {"weight": lambda p, larger, n: 1 - (1 - p) ** (n - larger)},
    {"weight": lambda p, larger, n: 1 - (1 - p) ** (larger + 1)})  # fmt: skip
pooled_mean.wrong("by-rank-alone",
    "The weights depend on the rank alone, and not on keep_prob. Activation i comes out if it is "
    "kept, p, and the n - i larger ones are dropped, q^(n-i).",
    {"weight": lambda p, larger, n: (n - larger) / n},
    {"weight": lambda p, larger, n: 0.5 ** (larger + 1)},
    {"weight": lambda p, larger, n: (n - larger) / (n * (n + 1) / 2)})  # fmt: skip
pooled_mean.wrong("ties",
    "Equal activations went wrong. They take their places in any order, and each has a weight of "
    "its own: none may be left out, and none share a rank.",
    lambda a, p: np.array([pooled_mean.right(np.unique(row)[None], p)[0] for row in a]),
    shared_ranks,
    lambda a, p: shared_ranks(a, p, lambda x, y: x >= y) / (1 - p if p < 1 else 1))  # fmt: skip
pooled_mean.wrong("one-activation",
    "A window of one activation a has the mean p a: it is kept, or nothing is.",
    lambda a, p: pooled_mean.right(a, p) if a.shape[1] > 1 else a[:, 0],
    lambda a, p: pooled_mean.right(a, p) if a.shape[1] > 1 else 0 * a[:, 0])  # fmt: skip
pooled_mean.wrong("keep-prob-1",
    "With keep_prob=1 nothing is dropped, and the largest comes out. Yours differs: 0^0 is 1, and "
    "a division by 1 - p is not needed.",
    lambda a, p: pooled_mean.right(a, p) if p < 1 else 0 * a[:, 0])  # fmt: skip
pooled_mean.wrong("one-number",
    "One number came out for all windows. Each window, a row of a, has a mean of its own.",
    lambda a, p: pooled_mean.right(a, p).mean(), lambda a, p: pooled_mean.right(a, p).sum(),
    lambda a, p: pooled_mean.right(a.reshape(1, -1), p),
    lambda a, p: pooled_mean.right(a.reshape(1, -1), p)[0])  # fmt: skip
pooled_mean.wrong("windows-in-columns",
    "There is one number for each column. A window is a ROW of a: sort and add along axis 1.",
    lambda a, p: pooled_mean.right(a.T, p))  # fmt: skip


# Drop-path

LOST = (
    "Examples lost all of their paths, and the result is {}. A join never loses all: if none "
    "survives, one is drawn among the k and kept."
)
DIVIDED = (
    "The sum of the survivors is divided by {}. It is a MEAN of those that survive: divide by "
    "their number, which differs from example to example."
)


@functools.cache
def orthonormal(k, n):
    """Paths, orthogonal in each example, so that weights can be read off; a third are zeros."""
    normal = np.random.default_rng(0).normal(size=(n, k, k))
    alone = np.broadcast_to(np.eye(k), (n, k, k))
    return np.concatenate([np.linalg.qr(normal)[0], alone], axis=1).transpose(2, 0, 1) / 2**0.5


def weights(run, calls, k, n, keep_prob, rng):
    """The weight of each path in the outputs, (calls, examples, paths)."""
    paths = orthonormal(k, n)
    try:
        outputs = np.array([run(paths=paths, keep_prob=keep_prob, rng=rng) for _ in range(calls)])
    except Missed as missed:
        if missed.idea != "not-finite":
            raise
        raise Missed(LOST.format("NaN, 0/0"), "none-left") from None
    w = np.einsum("knd,cnd->cnk", paths, outputs)
    if not np.allclose(np.einsum("cnk,knd->cnd", w, paths), outputs, atol=1e-5):
        raise Missed(
            "In one example a path has more weight in some features than in others. A path is kept "
            "or dropped as a WHOLE in an example: draw an array (k, n, 1), not one number for each "
            "feature, and divide the sum by the number of paths kept.",
            "apart-by-feature",
        )  # fmt: skip
    return w


def divisor(w, kept, p):
    """Whether the paths that survive are averaged."""
    k, number = w.shape[-1], kept.sum(axis=-1, keepdims=True)

    def by(divisor):
        return is_(w, kept / np.maximum(divisor, 1e-12))

    off = np.abs(w - kept / np.maximum(number, 1)).max(axis=-1) > 1e-4
    if number.all() and not kept.all() and not off.any():
        return []
    return first(
        (kept.all() and is_(w, 1 / k), "no-mask", "No path was ever dropped: where are the gates?"),
        (kept.all() and np.ptp(w) < 1e-6, "no-mask-scaled", "No path was ever dropped, and their "
         f"sum is multiplied by {w.flat[0]:.4g}: where are the gates?"),
        (not kept.any(), "all-dropped", LOST.format("always 0")),
        (not number.all(), "none-left", LOST.format("0")),
        (kept.all(), "soft-gates", "No path is ever dropped: each has a weight, and none is 0. A "
         "path is kept or it is not."),
        (by(k), "by-all", DIVIDED.format("k, the number of all paths")),
        (by(k * p), "by-mean-number",
         DIVIDED.format("k times keep_prob, the number that survive on average")),
        (by(p), "by-keep-prob", DIVIDED.format("keep_prob")),
        (by(1), "sum", DIVIDED.format("nothing: it is the sum")),
        (by(number * p), "mean-by-keep-prob",
         DIVIDED.format("their number, and by keep_prob on top of that")),
        (by(number / p), "mean-times-keep-prob",
         DIVIDED.format("their number, and multiplied by keep_prob on top of that")),
        (by(number + 1), "by-number-plus-1", DIVIDED.format("their number plus 1")),
        (by(number**0.5), "by-root", DIVIDED.format("the root of their number")),
        (by(k - number + 1e-12), "by-number-dropped",
         DIVIDED.format("the number of those that are dropped")),
        (by(number.sum(axis=1, keepdims=True)), "by-number-in-batch",
         DIVIDED.format("the number that survive in all examples together")),
        (by(number.mean(axis=1, keepdims=True)), "by-mean-in-batch",
         DIVIDED.format("the number that survive on average over the batch")),
        (True, "unequal", "The paths that survive must have equal weights that sum to 1. In one "
         "example yours have the weights "
         f"{w[off][:1].round(3).tolist()}."),
    )  # fmt: skip


def survivors(kept, p):
    """Compare how often each set of paths survives with what the rule gives, and others."""
    k, flat = kept.shape[-1], kept.reshape(-1, kept.shape[-1])
    masks = all_masks(k)[1:].astype(bool)
    seen = np.array([(flat == mask).all(axis=1).mean() for mask in masks])
    single, whole = masks.sum(axis=1) == 1, masks.all(axis=1)

    def law(p, instead=None):
        """Chances of the sets if, where none survives, `instead` gives those of what is kept."""
        chances = mask_probabilities(all_masks(k), p)
        return chances[1:] + chances[0] * (single / k if instead is None else instead)

    def drawn_anew(p):
        return law(p, 0) / law(p, 0).sum()

    def forced(path, p):
        """Chances if a path always survives."""
        return masks[:, path] * mask_probabilities(masks, p) / p

    def off_by(chances):
        """Standard errors."""
        error = np.sqrt(np.maximum(chances * (1 - chances), 1e-6) / len(flat))
        return (np.abs(seen - chances) / error).max()

    if min(off_by(law(p)), off_by(drawn_anew(p))) < SIGMAS:
        return []
    laws = {
        "drop-for-keep": [law(1 - p), drawn_anew(1 - p)],
        "two-masks": [law(p**2), drawn_anew(p**2)],
        "always-half": [law(0.5), drawn_anew(0.5)],
        "fixed-path": [law(p, single & masks[:, path]) for path in range(k)],
        "never-rescued": [law(p, single * ~masks[:, path] / (k - 1)) for path in range(k)],
        "mean-if-none": [law(p, whole)],
        "one-path": [single / k],
        "one-always": [forced(path, p) for path in range(k)],
        "one-too-many": [np.mean([forced(path, p) for path in range(k)], axis=0)],
        "all-or-none": [whole * p + single * (1 - p) / k],
    }
    distance = {name: min(map(off_by, some)) for name, some in laws.items()}
    name = min(distance, key=distance.get)
    wanted = law(p) @ masks.mean(axis=1)
    return first(
        (distance[name] < SIGMAS, name, SURVIVORS[name]),
        (not np.ptp(kept.sum(axis=-1)), "fixed-number", "Always the same number of paths survives. "
         "Each is kept with probability keep_prob, independently of the others, so their number "
         "varies."),
        (True, "other-law", f"With keep_prob={p} and {k} paths, {wanted:.0%} of them must survive, "
         f"counting the one that is kept when none does; with yours {kept.mean():.0%} do, or the "
         "wrong sets of them. Draw for each path and example: rng.random(...) < keep_prob."),
    )  # fmt: skip


SURVIVORS = {
    "drop-for-keep": "The share of survivors is that of 1 - keep_prob: did you take keep_prob for "
    "the probability to drop a path?",
    "two-masks": "The paths survive with keep_prob squared: are the gates drawn twice?",
    "always-half": "The paths survive with probability 1/2, whatever keep_prob is.",
    "fixed-path": "If no path survives, it is always the same one of the k that is kept. Draw it, "
    "each with the same probability: only so has each path the mean weight 1/k, which is what the "
    "test phase relies on.",
    "never-rescued": "If no path survives, one of the k is never the one that is kept. Draw among "
    "all of them: rng.integers(k).",
    "mean-if-none": "If no path survives, your join seems to return the mean of all of them. Keep "
    "ONE, drawn among the k: in training a join with a single path must happen, and with none it "
    "is that.",
    "one-path": "Always exactly one path survives. That is global drop-path; here each path is "
    "kept with probability keep_prob, independently, so several may survive.",
    "one-always": "One of the paths always survives. No path is preferred: each may be dropped, "
    "and only if none is left one is drawn.",
    "one-too-many": "One path is drawn and kept in every example, even where others survive. It is "
    "needed only where none does.",
    "all-or-none": "The paths of an example are kept or dropped together. Each path of each "
    "example needs a draw of its own: (k, n).",
}


def sharing(kept):
    """Which draws are shared: kept has shape (calls, examples, paths)."""
    return first(
        ((kept == kept[:1]).all(), "shared-by-calls", "Two calls kept the same paths: is a "
         "generator seeded inside your function? Draw from the rng it is given."),
        ((kept == kept[:, :1]).all(axis=(1, 2)).mean() > 0.3, "shared-by-examples",
         "In each call all examples kept the same paths. Here each example has draws of its own: "
         "draw an array (k, n, 1)."),
    )  # fmt: skip


def where_none_is_left(kept):
    """Who shares the draw of the path that is kept after all: (calls, 2 examples, paths)."""
    lone = kept[(kept.sum(axis=-1) == 1).all(axis=1)]
    share, together = lone.mean(axis=0), (lone[:, 0] == lone[:, 1]).all(axis=-1).mean()
    error = math.sqrt(2 / 9 / len(lone))
    return first(
        (np.abs(share - 1 / 3).max() > SIGMAS * error, "fixed-by-example",
         "If no path survives in an example, it is not chance that says which is kept: it depends "
         "on the example, or some paths are preferred. Draw it, each of the k with the same "
         "probability."),
        (abs(together - 1 / 3) > SIGMAS * error, "one-for-all-lost", "If no path survives in "
         "several examples, what they keep is drawn once for all of them. Draw one for each "
         "example: rng.integers(k, size=n)."),
    )  # fmt: skip


def join_traits(run, data):
    rng, off, looks, masks = np.random.default_rng(data), [], [], []
    for k, n, keep_prob in ((3, 12, 0.4), (2, 5, 0.7)):
        w = weights(run, 300, k, n, keep_prob, rng)
        masks.append(kept := np.abs(w) > 1e-6)
        off = off or divisor(w, kept, keep_prob) or sharing(kept) or survivors(kept, keep_prob)
    for path in np.moveaxis(masks[0], -1, 0) if not off else ():
        z = (path - path.mean()) / path.std()
        looks += independent(z, ("call", "example"), "paths", mean_removed=True)
    pairs = [each for each in looks if each.name.startswith(("alike", "opposite"))]
    few = np.abs(weights(run, 200, 3, 2, 0.1, rng)) > 1e-6
    off = off or pairs or where_none_is_left(few) or looks
    yield from off[:1]
    if off:
        return
    yield from fresh(lambda rng: np.abs(weights(run, 1, 3, 20, 0.6, rng)) > 1e-6)
    other = [k for k in (1, 4) if not np.allclose(weights(run, 1, k, 3, 1.0, rng), 1 / k)]
    yield from found(
        other, "keep-prob-1", f"With keep_prob=1 the join is the mean of all paths; for k={other} "
        "yours differs.",
    )  # fmt: skip


@exercise(
    returns=Array("The result", lambda paths: paths.shape[1:], "That of one path: (n, d)."),
    traits=join_traits,
    done="a draw for each path and example, the mean of the survivors, never none.",
)
def join(
    paths, keep_prob, rng, *, of=lambda k, n: (k, n), keep=lambda p: p,
    lucky=lambda rng, k, n: rng.integers(k, size=n), divide=lambda total, b, p: total / b.sum(0),
):  # fmt: skip
    """Mean of the paths that survive, at least one for each example."""
    k, n, _ = paths.shape
    kept = np.broadcast_to(rng.random(of(k, n)) < keep(keep_prob), (k, n)).copy()
    none = ~kept.any(axis=0)
    kept[np.broadcast_to(lucky(rng, k, n), n)[none], none] = True
    return divide(np.einsum("kn,knd->nd", kept, paths), kept[..., None], keep_prob)


# Where dropout stands

ORDER = ["dropout", "convolution", "batch normalization", "ReLU"]
ASKED = "nn.Dropout2d (or nn.Dropout), nn.Conv2d, nn.BatchNorm2d and nn.ReLU"


class Block:
    """A slot for an nn.Sequential."""

    what = short = "The block"

    def read(self, result, case):
        import torch  # here, so that the other checks do without it

        if not isinstance(result, torch.nn.Sequential):
            raise Missed(
                f"Return an nn.Sequential of the layers; yours is {brief(result)}.", "what"
            )
        return result


def kind(layer):
    """What a layer is, or None if the block should not have it."""
    from torch import nn

    from lib import layers

    kinds = {"dropout": (nn.Dropout, nn.Dropout1d, nn.Dropout2d, nn.Dropout3d, layers.Dropout,
                         layers.SpatialDropout),
             "convolution": nn.Conv2d, "batch normalization": (nn.BatchNorm2d, nn.LazyBatchNorm2d),
             "ReLU": nn.ReLU}  # fmt: skip
    return next((name for name, types in kinds.items() if isinstance(layer, types)), None)


def leaves(block):
    """The layers of nested nn.Sequentials, in order."""
    from torch import nn

    inner = [leaves(each) if isinstance(each, nn.Sequential) else [each] for each in block]
    return [each for some in inner for each in some if not isinstance(each, nn.Identity)]


def layers_asked(layers):
    kinds = [kind(layer) for layer in layers]
    other = [type(each).__name__ for each, name in zip(layers, kinds, strict=True) if not name]
    missing = [name for name in ORDER if name not in kinds]
    return first(
        (not layers, "empty", "The block is empty: where are the layers?"),
        (other, "other-layer", f"These layers are not among those asked for: {', '.join(other)}. "
         f"The block has {ASKED}."),
        (missing, "layer-missing", f"The block has no {' and no '.join(missing)} layer. It has "
         f"{ASKED}."),
        (len(kinds) > 4, "layer-twice",
         f"There is more than one layer of a kind: {kinds}. The block has one of each."),
    )  # fmt: skip


def runs(block, layers, in_maps, out_maps):
    """Whether the block runs on maps, gives maps of that size, and learns."""
    import torch

    x = torch.rand(8, in_maps, 7, 9) + 0.5
    given = x.clone()
    try:
        y = block(x)
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
        return first((True, "does-not-run", f"The block of make_block({in_maps}, {out_maps}, ...) "
                      f"does not run on {in_maps} maps: {text}"))  # fmt: skip
    conv = next(layer for layer in layers if kind(layer) == "convolution")
    norm = next(layer for layer in layers if kind(layer) == "batch normalization")
    return first(
        (y.shape[1] != out_maps, "other-maps",
         f"The block must return out_maps={out_maps} maps; yours returns {y.shape[1]}."),
        (conv.kernel_size != (3, 3), "kernel", "The convolution must be 3x3; yours is "
         f"{'x'.join(map(str, conv.kernel_size))}."),
        (y.shape[2:] != x.shape[2:], "size", f"Maps of 7x9 came out as {y.shape[2]}x{y.shape[3]}. "
         "A 3x3 convolution keeps the size with padding=1 (and stride 1)."),
        (conv.groups != 1, "groups", "The convolution has groups: a map that comes out sees only "
         "some of those that go in. A 3x3 convolution sees all of them: leave groups out."),
        (conv.dilation != (1, 1), "dilation", "The convolution has holes, dilation: it looks at "
         "places further apart. A 3x3 convolution looks at the 3x3 neighbours: leave it out."),
        (norm.running_var is None, "nothing-remembered", "The batch normalization remembers "
         "nothing (track_running_stats=False): at prediction it would go by whatever batch it is "
         "given. Leave that out."),
        (norm.momentum == 0, "nothing-remembered-0", "The batch normalization has momentum=0: it "
         "never updates what it remembers. Leave that out."),
        (not torch.equal(x, given), "in-place", "The block changed its input: dropout works in "
         "place there. Whoever called it, a skip path for example, still needs x: leave out "
         "inplace=True."),
        (not all(layer.training for layer in layers), "eval-mode", "The block comes in evaluation "
         "mode, so its dropout would be off in training: leave out eval()."),
        (not all(w.requires_grad for w in block.parameters()), "frozen",
         "Weights of the block are frozen: they need gradients to be trained."),
    )  # fmt: skip


def order(layers):
    """Whether dropout comes first, then convolution, BatchNorm and ReLU."""
    kinds = [kind(layer) for layer in layers]
    if kinds == ORDER:
        return []
    following = kinds[kinds.index("dropout") + 1 :][:1]
    others = [each for each in kinds if each != "dropout"]
    return first(
        (following == ["batch normalization"], "before-batch-norm",
         "Dropout leads straight into batch normalization, which REMEMBERS the variance of "
         "training, with the masks in it. At prediction no mask is on, and it divides by too much. "
         "Put dropout first, before the convolution."),
        (others != ORDER[1:], "order", f"The order is {', '.join(kinds)}. Without dropout it must "
         "be convolution, batch normalization, ReLU: BatchNorm sees what the convolution makes, "
         "before the ReLU cuts it."),
        (not following, "last", "Dropout is the last layer. Then what follows the block gets the "
         "noise: a pooling, or the batch normalization of another block, which would remember it. "
         "Put it FIRST, immediately before the convolution."),
        (True, "before-relu", "Dropout stands between batch normalization and ReLU. The pattern "
         "has it immediately before the convolution: make it the first layer of the block."),
    )  # fmt: skip


def rate(layer, keep_prob):
    """Whether a dropout layer drops with the right probability."""
    drops = 1 - layer.keep_prob if hasattr(layer, "keep_prob") else layer.p
    if math.isclose(drops, 1 - keep_prob, abs_tol=1e-6):
        return []
    return first(
        (hasattr(layer, "p") and math.isclose(layer.p, keep_prob), "keep-for-drop",
         f"torch's layers take the probability to DROP, so keep_prob={keep_prob:g} is "
         f"nn.Dropout2d({1 - keep_prob:g}). Yours drops with {keep_prob:g}: pass 1 - keep_prob."
         ),
        (True, "other-rate", f"With keep_prob={keep_prob:g} dropout must drop with probability "
         f"{1 - keep_prob:g}; yours drops with {drops:g}."),
    )  # fmt: skip


def block_traits(run, data):
    with torch_seeded(int(data.integers(1000))):
        for sizes in ((4, 6, 0.8), (5, 3, 0.4), (3, 3, 1.0)):
            given = dict(zip(("in_maps", "out_maps", "keep_prob"), sizes, strict=True))
            block, again = run(**given), run(**given)
            layers = leaves(block)
            off = layers_asked(layers) or runs(block, layers, *sizes[:2])
            off = off or order(layers) or first(
                *((type(each).__name__ in ("Dropout1d", "Dropout3d"), "other-dimensions",
                   f"nn.{type(each).__name__} is made for other data. A batch of maps has four "
                   "dimensions: nn.Dropout2d drops its maps, nn.Dropout its pixels.")
                  for each in layers),
                (block is again or layers[1] is leaves(again)[1], "same-block",
                 "Two calls returned the same block or layers. Each needs weights of its own: make "
                 "new layers inside the function."),
            )  # fmt: skip
            off = off or rate(layers[0], sizes[2])
            yield from off
            if off:
                return


@exercise(
    returns=Block(), traits=block_traits,
    done="dropout before the convolution, then BatchNorm, then ReLU.",
)  # fmt: skip
def make_block(in_maps, out_maps, keep_prob):
    """Dropout, convolution, batch normalization, ReLU."""
    from torch import nn

    return nn.Sequential(
        nn.Dropout2d(1 - keep_prob), nn.Conv2d(in_maps, out_maps, 3, padding=1),
        nn.BatchNorm2d(out_maps), nn.ReLU(),
    )  # fmt: skip


# What batch normalization remembers


@functools.cache
def front_type():
    """A module that masks in training, always in the same places."""
    import torch
    from torch import nn

    class Front(nn.Module):
        def __init__(self, weights, factors):
            super().__init__()
            self.weights = nn.Parameter(torch.tensor(weights))
            self.factors = torch.tensor(factors)[:, None, None]

        def forward(self, x):
            y = torch.einsum("mc,nchw->nmhw", self.weights, x)
            mask = torch.arange(y[0].numel()).reshape(y[0].shape) * 7 % 5 < 3
            return self.factors * mask * y if self.training else y

        def __eq__(self, other):
            return isinstance(other, Front) and torch.equal(self.weights, other.weights)

        __hash__ = nn.Module.__hash__

    return Front


def shift_cases(data):
    import torch

    cases = []
    for n_batches, shape, n_maps in (
        (1, (6, 2, 4, 5), 3),
        (3, (5, 3, 2, 4), 6),
        (4, (7, 1, 3, 2), 2),
    ):
        front = front_type()(data.normal(size=(n_maps, shape[1])), data.uniform(1.2, 3, n_maps))
        batches = [torch.tensor(data.normal(i, 1 + i, shape)) for i in range(n_batches)]
        cases.append({"front": front.eval(), "batches": batches})
        front = front_type()(front.weights.detach().numpy(), data.uniform(1.2, 3, n_maps))
        cases.append({"front": front, "batches": batches})
    return cases


@exercise(
    returns=Array("The result", lambda front: (len(front.weights),), "One number for each map."),
    cases=shift_cases,
    otherwise="In each mode take the variance of every map in each batch, over examples and "
    "places, then the mean over the batches; divide the one at prediction by the one in training.",
    done="variance at prediction by the one in training, map by map.",
)
def shift_ratios(
    front, batches, *, modes=(False, True), ratio=lambda test, train: test / train,
    variance=lambda y: y.var(dim=(0, 2, 3)), over=lambda y, var: sum(map(var, y)) / len(y),
):  # fmt: skip
    """Variance at prediction by that in training, for each map that leaves `front`."""
    means = []
    for mode in modes:
        front.train(front.training if mode is None else mode)
        means.append(over([front(batch).detach() for batch in batches], variance))
    return ratio(*means).numpy()


def remembered_by(momentum):
    def answer(front, batches):
        from torch import nn

        norm = nn.BatchNorm2d(len(front.weights), momentum=momentum).double()
        for batch in batches:
            norm(front.train()(batch))
        test = sum(front.eval()(batch).var(dim=(0, 2, 3)) for batch in batches) / len(batches)
        return (test / norm.running_var).detach().numpy()

    return answer


def mean_ratio(test, train):
    return sum(a / b for a, b in zip(test, train, strict=True)) / len(test)


def joined(outputs, variance):
    import torch

    return variance(torch.cat(outputs))


def joined_at_prediction(front, batches):
    test = shift_ratios.right(front, batches, over=joined, ratio=lambda test, train: test)
    return test / shift_ratios.right(front, batches, ratio=lambda test, train: train)


shift_ratios.wrong(
    "same-mode",
    "The two variances are of one mode. Call front.train() before you measure the one in training, "
    "and front.eval() before the one at prediction: you can't rely on the mode that front is in.",
    {"modes": (True, True)},
    {"modes": (False, False)},
    {"modes": (None, None)},
    {"modes": (False, None)},
    lambda front, batches: shift_ratios.right(
        front, batches, modes=(None, False), ratio=lambda train, test: test / train
    ),
)
shift_ratios.wrong("turned-round",
    "The ratio is turned round: it is the variance at prediction DIVIDED BY the one in training, "
    "below 1 where dropout adds noise.", {"ratio": lambda test, train: train / test})  # fmt: skip
shift_ratios.wrong("not-squared",
    "This is the ratio of standard deviations. Batch normalization stores variances.",
    {"ratio": lambda test, train: (test / train) ** 0.5},
    {"variance": lambda y: y.std(dim=(0, 2, 3))})  # fmt: skip
shift_ratios.wrong("other-axes",
    "The variance of a map is taken over examples and places TOGETHER, as batch normalization "
    "does it: y.var(dim=(0, 2, 3)). Yours is taken over a part of them.",
    {"variance": lambda y: y.var(dim=(2, 3)).mean(0)},
    {"variance": lambda y: y.var(dim=0).mean((1, 2))},
    {"variance": lambda y: y.mean((2, 3)).var(dim=0)},
    {"variance": lambda y: y.mean(0).var(dim=(1, 2))})  # fmt: skip
shift_ratios.wrong("one-number",
    "One ratio came out for all maps. Batch normalization stores a variance for each map, axis 1.",
    {"variance": lambda y: y.var()},
    lambda front, batches: shift_ratios.right(front, batches).mean())  # fmt: skip
shift_ratios.wrong("mean-square",
    "This is the mean square, the mean included. The variance is taken around the mean of the map.",
    {"variance": lambda y: (y ** 2).mean((0, 2, 3))})  # fmt: skip
shift_ratios.wrong("mean-of-ratios",
    "This is a mean of ratios, one for each batch. Average the variances over the batches first, "
    "as batch normalization does, and divide then.",
    {"over": lambda y, var: [*map(var, y)], "ratio": mean_ratio})  # fmt: skip
shift_ratios.wrong("batches-joined",
    "The batches are joined, so the variance between them counts, too. Batch normalization sees "
    "one batch at a time: a variance for each batch, then their mean.",
    {"over": joined}, joined_at_prediction)  # fmt: skip
shift_ratios.wrong("one-batch",
    "Only one of the batches counts. Take the mean over all of them.",
    {"over": lambda y, var: var(y[0])}, {"over": lambda y, var: var(y[-1])})  # fmt: skip
shift_ratios.wrong("momentum",
    "This is running_var with its momentum, which begins at 1 and weighs the last batches most. "
    "momentum=None gives the plain mean over the batches.",
    *map(remembered_by, (0.1, 0.5, 0.01)))  # fmt: skip
shift_ratios.wrong("difference",
    "This is a difference of the variances, or the change by it. Asked for is the ratio, 1 where "
    "nothing shifts.",
    {"ratio": lambda test, train: test - train}, {"ratio": lambda test, train: train - test},
    {"ratio": lambda test, train: 1 - test / train},
    {"ratio": lambda test, train: train / test - 1})  # fmt: skip
shift_ratios.wrong("one-variance",
    "This is one of the two variances. Asked for is their ratio, prediction by training.",
    {"ratio": lambda test, train: test}, {"ratio": lambda test, train: train})  # fmt: skip


# A script with mistakes

SCRIPT = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Conv2d", "BatchNorm2d", "ReLU", "Flatten",
          "Linear"]  # fmt: skip
GOOD_DROPOUTS = ("Dropout", "Dropout2d", "SpatialDropout")


class NetAndPredict:
    """A slot for an nn.Sequential and a function."""

    what = short = "The result"

    def read(self, result, case):
        if not isinstance(result, tuple | list) or len(result) != 2 or not callable(result[1]):
            raise Missed("The function must return two things: return net, predict.", "how-many")
        return Block().read(result[0], case), result[1]


def repaired_layers(net, images, keep_prob):
    """Whether both dropout layers are there, in a right place and with a right argument."""
    layers, shapes, h = leaves(net), [], images
    try:
        with silenced():
            for layer in layers:
                shapes.append(h.shape)
                h = layer(h)
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
        return first((True, "does-not-run", f"The repaired net does not run on images: {text}"))
    names = [type(layer).__name__ for layer in layers]
    dropouts = [i for i, name in enumerate(names) if "ropout" in name]
    of_maps = [i for i in dropouts if names[i] not in ("Dropout", "AlphaDropout")]
    others = [name for name in names if "ropout" not in name]
    sizes, right = ([w.shape for w in each.parameters()] for each in (net, repaired.right(0.5)[0]))
    mixing = ("convolution", "batch normalization")
    following = [next((n for n in map(kind, layers[i:]) if n in mixing), None) for i in dropouts]
    return first(
        (len(dropouts) < 2, "dropout-removed", "A dropout layer is gone. That does away with the "
         "mistake, and with its use: repair its place, its kind or its argument."),
        (len(dropouts) > 2 or others != SCRIPT or sizes != right, "other-layers", "Besides the two "
         "dropout layers all stays as it is, order and sizes: " + ", ".join(SCRIPT) + "."),
        ("batch normalization" in following, "before-batch-norm", "Dropout leads straight into "
         "batch normalization, which remembers the variance with masks. At prediction there are "
         "none. Put it immediately before the convolution."),
        (len(layers) - 1 in dropouts, "on-the-scores", "Dropout behind the last layer drops scores "
         "of classes, and not what the next layer reads. It belongs before nn.Linear."),
        (any(len(shapes[i]) != 4 for i in of_maps), "maps-of-flat", "Behind nn.Flatten there "
         "are no maps: a layer for maps, such as nn.Dropout2d, wants 4 dimensions, and warns that "
         "2 will be an error. Single numbers are dropped by nn.Dropout."),
        (any(shapes[i][1] == 1 for i in of_maps), "image-dropped", "The images have one map: "
         "to drop it is to drop the whole image: put that layer before the second convolution."),
        (any(names[i] not in GOOD_DROPOUTS for i in dropouts), "other-dropout",
         "A dropout layer is of another kind: nn.Dropout2d drops maps, nn.Dropout single numbers."),
        (not net.training, "eval-mode", "The net comes in evaluation mode, so its dropout would be "
         "off in training: call eval() inside predict."),
    ) or [off for i in dropouts for off in rate(layers[i], keep_prob)]  # fmt: skip


def repaired_predict(net, predict, images):
    """Whether predictions are made without masks, and training goes on."""
    import torch

    def run():
        try:
            return torch.as_tensor(predict(images)).detach().clone(), net.training
        except Exception as error:
            text = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
            raise Missed(f"predict(images) raised {text}", "predict-raises") from error

    for _ in range(3):
        net.train()(images)
    stored = copy.deepcopy(net.state_dict())
    (first_, training), (again, _) = run(), (net.train() and run())
    changed = [key for key, value in net.state_dict().items() if not value.equal(stored[key])]
    right = net.eval()(images).detach()
    net.train()
    return first(
        (not first_.equal(again), "mask-at-prediction", "Two predictions for the same images "
         "differ: the masks are still on. Call net.eval() in predict, before net(images)."),
        (changed, "learns-at-prediction", "predict changes what batch normalization remembers: it "
         "is still in training mode. Call net.eval() in predict, which switches the whole net."),
        (first_.shape == right.shape and np.allclose(first_, right, atol=1e-5), "no-softmax",
         "predict gives the net's scores. The script turns them into probabilities: "
         "softmax(dim=1)."),
        (first_.shape != right.shape or not np.allclose(first_, right.softmax(dim=1), atol=1e-5),
         "other-prediction", "predict must give softmax(dim=1) of the net's output in evaluation "
         "mode, for all images. Yours differs."),
        (not training, "stays-in-eval", "predict leaves the net in evaluation mode. From the next "
         "epoch on it would train without dropout: call net.train() again before you return."),
    )  # fmt: skip


def repaired_traits(run, data):
    import torch

    with torch_seeded(int(data.integers(1000))):
        images = torch.rand(50, 1, 8, 8)
        for keep_prob in (0.8, 0.3):
            net, predict = run(keep_prob=keep_prob)
            off = repaired_layers(net, images, keep_prob) or repaired_predict(net, predict, images)
            yield from off
            if off:
                return


@exercise(
    returns=NetAndPredict(), traits=repaired_traits,
    done="four mistakes repaired: keep for drop, two places, no eval().",
)  # fmt: skip
def repaired(keep_prob):
    """The script's net and its predictions, without its mistakes."""
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout2d(1 - keep_prob), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Dropout(1 - keep_prob), nn.Linear(256, 10),
    )  # fmt: skip

    def predict(images):
        net.eval()
        probabilities = net(images).softmax(dim=1)
        net.train()
        return probabilities

    return net, predict
