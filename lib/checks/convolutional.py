"""Checks of the exercises on convolutional networks: what is dropped, and where."""

import copy
import functools
import math

import numpy as np

from lib.checks.engine import (
    Array,
    Missed,
    brief,
    exercise,
    found,
    refuse,
    silenced,
    summary_of,
    varied,
)
from lib.checks.traits import (
    SHARED,
    SIGMAS,
    coins,
    costly,
    factor,
    factor_name,
    first,
    fresh,
    independent,
    scaled,
    torch_seeded,
)
from lib.masks import all_masks, mask_probabilities

summary = summary_of("convolutional")
# fmt: off


def is_(output, *values):
    return any(np.allclose(output, value, 1e-4, 1e-6) for value in values)


def apart(kept, what, **axes):
    """Whether one draw is shared along axes, as it should be."""
    for label, axis in axes.items():
        yield from found(
            (kept != kept.take([0], axis)).any(), f"not-shared-by-{label}s",
            f"Different {label}s drop different {what}. All of them must share one draw.")


# Spatial dropout

MAPS = "draw a mask (n, channels, 1, 1)"
SAY_MAPS = {
    "shared-by-maps": "In each example all channels are kept or dropped together: whole images are "
    f"lost, and an empty one has no answer to learn. Each channel needs its own draw: {MAPS}."
} | dict.fromkeys(
    ("opposite-maps", "fixed-total-per-call", "fixed-total-per-example"),
    "All examples kept the same number of maps, or nearly so. Maps are dropped independently of "
    "each other, so the number varies from example to example.",
)


def maps_off(ratio, keep_prob):
    """List what is off in outputs by inputs: (calls, examples, maps, rows, columns)."""
    kept, axes = np.abs(ratio) > 1e-9, ("call", "example", "map")
    off = [*apart(kept, "parts of a map", row=3, column=4),
           *coins(kept[..., 0, 0], keep_prob, axes, "maps", sentences=SAY_MAPS)]
    factors = ratio[kept]
    return off + [*scaled(factor(factors, np.ones_like(factors)), keep_prob, "The maps")]


def spatial_traits(run, data):
    def ratios(x, keep_prob, rng):
        return run(x=x, keep_prob=keep_prob, rng=rng) / x

    for keep_prob, shape in ((0.8, (12, 9, 3, 4)), (0.3, (10, 3, 6, 2))):
        x, rng = data.uniform(0.5, 2, shape) * data.choice([-1, 1], shape), np.random.default_rng(1)
        if off := maps_off(np.array([ratios(x, keep_prob, rng) for _ in range(50)]), keep_prob):
            return off
    return first(fresh(lambda rng: ratios(x, 0.5, rng) != 0)) or found(
        not is_(ratios(x, 1.0, rng), 1), "keep-prob-1",
        "With keep_prob=1 nothing is dropped, and the output is x. Yours differs.")


@exercise(
    returns=Array("The output", lambda x: x.shape, "It has the shape of x."),
    traits=spatial_traits,
    done="whole maps, a draw for each map and example; the mean kept.")
def spatial_dropout(x, keep_prob, rng, *, of=lambda n, c, h, w: (n, c, 1, 1)):
    """Whole maps dropped, the others divided by `keep_prob`."""
    return x * (rng.random(of(*x.shape)) < keep_prob) / keep_prob


wrong = spatial_dropout.wrong
wrong("single-pixels", "Single pixels of a map are dropped. Their neighbours show nearly the same, "
      f"so spatial dropout drops a MAP as a whole: {MAPS}, and let it broadcast.",
      *varied("of", lambda n, c, h, w: (n, c, h, w), lambda n, c, h, w: (c, h, w)))
wrong("shared-by-channels", "A pixel is dropped in all channels at once, or in none. It is the "
      f"other way round: one draw for each channel, shared by all its pixels. {MAPS.capitalize()}.",
      *varied("of", lambda n, c, h, w: (n, 1, h, w), lambda n, c, h, w: (h, w)))
wrong("whole-columns", "Whole columns of a map are dropped. Height and width share the draw of "
      f"their map: {MAPS}. (With the channels last, as in Keras, it would be right.)",
      *varied("of", lambda n, c, h, w: (n, c, 1, w), lambda n, c, h, w: (n, 1, 1, w)))
wrong("noise-for-mask", "No map was dropped: maps are multiplied by numbers of which none is 0. "
      f"Here a map is kept whole or dropped whole: {MAPS}.",
      lambda x, p, rng: x * rng.normal(1, 0.5, (*x.shape[:2], 1, 1)))


# Stochastic depth


def survival_cases(data):
    ordinary = [(5, 0.3), (9, 0.75), (5, 0.75), (54, 0.5), (3, 0.1), (5, 0.5)]
    return [[{"n_blocks": n_blocks, "last": last} for n_blocks, last in pairs]
            for pairs in (ordinary, [(1, 0.3), (4, 1.0)])]


@exercise(
    returns=Array("The result", lambda n_blocks: (n_blocks,), "One probability for each block."),
    cases=survival_cases,
    otherwise="p_l = 1 - l/L (1 - last).",
    done="linear in l = 1 ... L, and the last one is `last`.")
def survival_probabilities(
    n_blocks, last, *, depth=lambda b, L: b / L, rule=lambda depth, last: 1 - depth * (1 - last),
    after=lambda p: p):
    """Linear decay from 1 at the input to `last` at the last block."""
    return after(rule(depth(np.arange(1, n_blocks + 1), n_blocks), last))


wrong = survival_probabilities.wrong
wrong("with-the-input", "There is one probability too many. l = 0 is the input, and not a block: "
      "begin with l = 1.", lambda L, last: np.linspace(1, last, L + 1))
wrong("drop-for-survive", "These are the probabilities to DROP a block. Asked for is that it "
      "survives: p_l = 1 - l/L (1 - last).", {"after": lambda p: 1 - p})
wrong("inverse", "This is inversely proportional to depth, as the slides have it. The paper's rule "
      "is LINEAR in the depth, and deeper blocks survive LESS: p_l = 1 - l/L (1 - last).",
      {"depth": lambda b, L: 1 / b}, lambda L, last: 1 / np.arange(1, L + 1),
      lambda L, last: last / np.arange(1, L + 1), lambda L, last: 1 - last / np.arange(1, L + 1))
wrong("begins-at-0", "l begins at 0: the first block survives for sure, and the last one with more "
      "than `last`. The input is l = 0; the blocks are l = 1 to L.",
      {"depth": lambda b, L: (b - 1) / L})
wrong("first-for-sure", "The first block survives for sure: l begins at 0, and ends at `last` all "
      "the same. For the first block l/L is 1/L.", lambda L, last: np.linspace(1, last, L))
wrong("ends-too-early", "The last block survives with more than `last`: is l divided by L + 1? For "
      "the last block l/L is 1.", {"depth": lambda b, L: b / (L + 1)})
wrong("geometric", "This decay is geometric: each block has the same ratio to the one before. Here "
      "it is linear: each is LESS by the same amount, (1 - last)/L.",
      {"rule": lambda depth, last: last**depth})
wrong("multiplied-up", "This is the chance that l blocks in a row survive. Blocks are dropped "
      "independently, and p_l is that of block l alone: p_l = 1 - l/L (1 - last).",
      {"after": np.cumprod}, lambda L, last: last ** np.arange(1, L + 1))
wrong("constant", "All blocks have the same probability. It falls linearly with depth: p_l = 1 - "
      "l/L (1 - last).", *varied("depth", lambda b, L: 1 + 0 * b, lambda b, L: 0.5 + 0 * b))
wrong("last-is-dropped", "`last` is the survival probability of the last block, and not its "
      "probability to be dropped: p_l = 1 - l/L (1 - last).",
      {"rule": lambda depth, last: 1 - depth * last})
wrong("always-half", "Is 0.5 built in, the paper's value of `last`? It must follow the argument: "
      "p_l = 1 - l/L (1 - last).", {"rule": lambda depth, last: 1 - depth * 0.5})
wrong("not-linear", "Both ends are right, but the way between is not a straight line: each block "
      "must survive with (1 - last)/L less than the one before.",
      *varied("depth", lambda b, L: (b / L) ** 2, lambda b, L: (b / L) ** 0.5))
wrong("parentheses", "Parentheses are missing: 1 - last belongs together, and multiplies l/L. p_l "
      "= 1 - (l / L) * (1 - last).", {"rule": lambda depth, last: 1 - depth - last})
wrong("rises-with-depth", "The survival probability rises with depth. It is the other way round: "
      "the first blocks make what all others build on, and survive nearly always.",
      {"after": lambda p: p[::-1]}, lambda L, last: np.linspace(last, 1, L),
      lambda L, last: np.linspace(last, 1, L + 1)[1:])


# A residual block


def block_off(run, data, p, shape):
    """List what is off in training and at test, where each output is to be a x + b f(x)."""
    x, rng = data.uniform(0.5, 2, shape) * data.choice([-1, 1], shape), np.random.default_rng(data)
    calls = []

    def branch(x):
        calls.append(x)
        return np.cos(x) + 2.5 * np.sign(x)

    def passes(phase, n, rng, p=p):
        outputs, counts = [], []
        for _ in range(n):
            calls.clear()
            outputs.append(run(x=x, branch=branch, survival_prob=p, phase=phase, rng=rng))
            counts.append(len(calls))
        return np.array(outputs), np.array(counts)

    f = branch(x)

    def form(outputs, phase, wanted, *allowed):
        """Whether each a and b is allowed; they are NaN where there are none."""
        terms, flat = np.stack([x.ravel(), f.ravel()], 1), outputs.reshape(len(outputs), -1).T
        fit = np.linalg.lstsq(terms, flat)[0]
        fit = np.where(np.abs(terms @ fit - flat).max(axis=0) < 1e-4, fit, np.nan).T.round(6) + 0.0
        for a, b in [each for each in np.unique(fit, axis=0) if not is_(each, *allowed)][:1]:
            names = ["0" if is_(c, 0) else factor_name(c, p) or "other" for c in (a, b)]
            text = "no sum of multiples of x and f(x)" if a != a else f"{a:.4g} x {b:+.4g} f(x)"
            yield from found(
                True, f"{phase}-{'-'.join(names)}", f"With phase={phase!r} and survival_prob={p} "
                f"the output must be {wanted}. Yours can be {text}.")

    train, counts = passes("train", 450, rng)
    before = rng.bit_generator.state
    test, test_counts = passes("test", 30, rng)
    draws_at_test = rng.bit_generator.state != before
    there, random = np.abs(train - x) > 1e-6, np.ptp(test, axis=0).any()
    same = dict.fromkeys(("no-mask", "all-dropped"), "In all training passes the branch was there, "
                         "or in none. Draw one number from rng in each call: the branch survives "
                         "if it is below survival_prob.")
    off = first(
        (train.min() >= 0 > x.min(), "activation-after",
         "An activation follows the sum. It is another layer: return x + f(x) itself."),
    ) or [
        *form(train, "train", "x, or x + f(x) / survival_prob", (1, 0), (1, 1 / p)),
        *apart(there, "branches", example=1, unit=2),
        *coins(there[:, 0, 0], p, ("pass",), "branches", "survival_prob", same),
        *found(random, "gate-at-test", "The block is still random at test. There every branch "
               "takes part, and the same input always gives the same output."),
        *(form(test, "test", "x + f(x)", (1, 1)) if not random else ()),
    ]
    return off or first(
        ((counts != there.any(axis=(1, 2))).any() or (test_counts != 1).any(),
         "computed-though-dropped", "The branch is the expensive part. Draw first: call branch(x) "
         "once if it survives, and not at all if it is dropped. At test, call it once."),
        fresh(lambda rng: passes("train", 40, rng)[0]),
        (draws_at_test, "draws-at-test", "At test a random number is drawn, though none is "
         "needed: ask for the phase first."),
        (not is_(passes("train", 1, rng, p=1.0)[0], x + f), "survival-prob-1",
         "With survival_prob=1 the branch always survives, and training gives x + f(x)."))


def residual_traits(run, data):
    cases = (0.8, (6, 3)), (0.35, (4, 5))
    return next(filter(None, (block_off(run, data, *case) for case in cases)), [])


@exercise(
    returns=Array("The output", lambda x: x.shape, "It has the shape of x."),
    traits=residual_traits,
    phases=lambda data: {"x": np.ones((2, 3)), "branch": np.cos, "survival_prob": 0.7},
    done="one gate for the branch, not computed if dropped; the mean kept.")
def residual_block(
    x, branch, survival_prob, phase, rng, *, train=lambda x, f, p: x + f(x) / p,
    dropped=lambda x: x, test=lambda x, f, p: x + f(x), of=lambda n, d: ()):
    """x + b f(x) / p in training, with one gate b, and x + f(x) at test."""
    if phase not in ("train", "test"):
        raise ValueError(phase)
    if phase == "test":
        return test(x, branch, survival_prob)
    kept = rng.random(of(*x.shape)) < survival_prob
    return np.where(kept, train(x, branch, survival_prob), dropped(x)) if kept.any() else dropped(x)


wrong = residual_block.wrong
wrong("skip-dropped", "In some passes x is missing from the output. The gate belongs to the branch "
      "alone: the skip path carries x on, whatever happens.",
      {"dropped": lambda x: 0 * x}, {"train": lambda x, f, p: f(x) / p},
      *({"dropped": lambda x: 0 * x, "train": train} for train in (
          lambda x, f, p: x + f(x), lambda x, f, p: (x + f(x)) / p, lambda x, f, p: f(x) / p)))
wrong("sum-scaled", "When the branch survives, the whole sum is divided by survival_prob, the skip "
      "path with it. Only the branch is: x + f(x) / p.", {"train": lambda x, f, p: (x + f(x)) / p})
wrong("gate-per-example", "Each example has a gate of its own. Here one draw decides for the whole "
      "mini-batch: only so can the branch be left out as a whole.", {"of": lambda n, d: (n, 1)})
wrong("gate-per-unit", "In one pass a part of the branch is dropped and a part is not. One draw "
      "decides for the WHOLE branch and the whole mini-batch: it is a single number, 0 or 1.",
      *varied("of", lambda n, d: (n, d), lambda n, d: d))
wrong("unmodified", "There is no factor anywhere, so the branch is 1/p times too strong on average "
      "at test. Divide it by survival_prob in training.", {"train": lambda x, f, p: x + f(x)})
wrong("authors-rule", "This is the authors' rule: no factor in training, and p times the branch at "
      "test. It keeps the mean too. Here the factor goes into training: x + f(x) / p.",
      {"train": lambda x, f, p: x + f(x), "test": lambda x, f, p: x + p * f(x)})
wrong("scaled-twice", "At test the branch is multiplied by survival_prob, though training divides "
      "by it already: one of the two is enough.", {"test": lambda x, f, p: x + p * f(x)})
wrong("phases-swapped", "The two phases are swapped: the block is random at test, and not in "
      "training.", lambda x, f, p, phase, rng: residual_block.right(
          x, f, p, {"train": "test", "test": "train"}[phase], rng))


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
    "dropped, p q^(n-i); if nothing is kept, 0 does.",
    chance="Two calls gave different results: masks are drawn. The mean over all of them has a "
    "closed form, and needs no random numbers.",
    done="sorted, p q^(n-i) for rank i, the rest is nothing kept.")
def pooled_mean(
    a, keep_prob, *, order=lambda a: np.sort(a, axis=1), turned=False, kept=lambda p: p,
    weight=lambda p, larger, n: p * (1 - p) ** larger):
    """Mean over all masks of the largest activation that is kept."""
    n, p = a.shape[1], kept(keep_prob)
    larger = np.arange(n) if turned else np.arange(n)[::-1]
    return order(a) @ (weight(p, larger, n) * np.ones(n))


wrong = pooled_mean.wrong
wrong("not-sorted", "The weights were given by PLACE in the window. It is the rank that counts: "
      "sort each window first, np.sort(a, axis=1).",
      *varied("order", lambda a: a, lambda a: a[:, ::-1], lambda a: np.sort(a, axis=0)))
wrong("argsort-for-rank", "np.argsort gives the places in order of size, not the rank of each "
      "place. Use np.sort on the window and leave the weights in order, or argsort twice.",
      {"order": lambda a: np.argsort(a, axis=1)},
      lambda a, p: (a * p * (1 - p) ** (a.shape[1] - 1 - np.argsort(a, axis=1))).sum(axis=1))
wrong("turned-round", "The order is turned round. The largest comes out whenever it is kept: its "
      "weight is p. The smallest needs all others dropped, p q^(n-1).", {"turned": True})
wrong("kept-for-coming-out", "All activations have the same weight here. What is needed is the "
      "probability to COME OUT: kept, and all larger ones dropped, p q^(n-i).",
      *varied("weight", lambda p, larger, n: p, lambda p, larger, n: 1 / n))
wrong("weight-scaling", "Only the maximum counts here. Where it is dropped, the second largest "
      "takes its place, and so on: add all of them, each with its probability to come out.",
      *varied("weight", lambda p, larger, n: p * (larger == 0), lambda p, larger, n: larger == 0,
              lambda p, larger, n: (larger == 0) * (1 - (1 - p) ** n)))
wrong("drop-for-keep", "p and q = 1 - p are swapped: keep_prob is the probability to KEEP. "
      "Activation i is kept, p, and n - i larger ones are dropped, q^(n-i).",
      {"kept": lambda p: 1 - p})
wrong("normalised", "The weights are normalised to a sum of 1. They sum to 1 - q^n, and the rest "
      "belongs to the mask that drops everything: then 0 comes out.",
      {"weight": lambda p, larger, n: p * (1 - p) ** larger / (1 - (1 - p) ** n)})
wrong("remainder-given-away", "The weight that is left, q^n, was given to an activation. It "
      "belongs to the mask that drops everything: then 0 comes out, whatever the window holds.",
      {"weight": lambda p, larger, n: (1 - p) ** larger * np.where(larger == n - 1, 1, p)})
wrong("exponent-too-large", "The exponent is one too large: q^(n-i+1). Of n activations n - i are "
      "larger than the i-th, and for the largest itself none must be dropped: q^0.",
      {"weight": lambda p, larger, n: p * (1 - p) ** (larger + 1)})
wrong("no-factor-p", "The factor p is missing, or taken out again. An activation comes out only if "
      "it is itself kept. And nothing is scaled by 1/p here.",
      {"weight": lambda p, larger, n: (1 - p) ** larger})
wrong("ties", "Equal activations went wrong. They take their places in any order, and each has a "
      "weight of its own: none may be left out, and none share a rank.",
      lambda a, p: np.array([pooled_mean.right(np.unique(row)[None], p)[0] for row in a]),
      lambda a, p: (a * p * (1 - p) ** (a[:, None] > a[:, :, None]).sum(axis=2)).sum(axis=1))


# Drop-path

LOST = ("Examples lost all of their paths, and the result is {}. A join never loses all: if none "
        "survives, one is drawn among the k and kept.")


def weights(run, calls, k, n, keep_prob, rng):
    """The weight of each path in the outputs, (calls, examples, paths)."""
    numbers = np.random.default_rng(0)
    paths = numbers.normal(size=(k, n, 3 * k)) * (numbers.random((k, n, 3 * k)) < 0.7)
    outputs = np.array([run(paths=paths, keep_prob=keep_prob, rng=rng) for _ in range(calls)])
    w = np.einsum("cnd,ndk->cnk", outputs, np.linalg.pinv(paths.transpose(1, 0, 2)))
    refuse(not is_(np.einsum("cnk,knd->cnd", w, paths), outputs), "apart-by-feature",
           "In one example a path has more weight in some features than in others. A path is kept "
           "or dropped as a WHOLE: draw an array (k, n, 1), not one number for each feature, and "
           "divide the sum by the number of paths kept.")
    return np.where(np.abs(w) < 1e-4, 0, w)


def averaged(w, p):
    """Whether the paths that survive are averaged, and each example has its own."""
    kept, total, k = w != 0, w.sum(axis=-1, keepdims=True), w.shape[-1]
    number = kept.sum(axis=-1, keepdims=True)
    off = np.abs(w - kept / np.maximum(number, 1)).max(axis=-1) > 1e-4
    divisor = number / np.where(total, total, 1)
    return first(
        (kept.all(), "no-mask", "No path was ever dropped: where are the gates?"),
        (not number.all(), "none-left", LOST.format("0")),
        (off.any() and is_(divisor, divisor.flat[0]) and is_(w * divisor, kept), "fixed-divisor",
         f"The sum of the paths kept is always divided by {divisor.flat[0]:.3g}, with k={k} and "
         f"keep_prob={p}. It is a MEAN: divide by the number of paths kept, which differs from "
         "example to example."),
        (off.any(), "unequal", "The paths that survive must have equal weights that sum to 1. In "
         f"one example yours have the weights {w[off][:1].round(3).tolist()}."),
        ((kept == kept[:1]).all(), "shared-by-calls", SHARED["call"]),
        (len(kept[0]) > 9 and (kept == kept[:, :1]).all(axis=(1, 2)).mean() > 0.3,
         "shared-by-examples",
         "In each call all examples kept the same paths. Here each example has draws of its own: "
         "draw an array (k, n, 1)."))


def dependent(w, kinds):
    """Whether the draws of the first path know of each other: what is found, of some kinds."""
    path = w[..., 0] != 0
    z = (path - path.mean()) / path.std()
    looks = independent(z, ("call", "example"), "paths", mean_removed=True)
    yield from (each for each in looks if each.name.startswith(kinds))


def rescued(w):
    """Whether it is by chance which path is kept where none survives: of 3, in 2 examples."""
    kept = w != 0
    lone = kept[(kept.sum(axis=-1) == 1).all(axis=1)]
    if len(lone) > 50:
        share, together = lone.mean(axis=0), (lone[:, 0] == lone[:, 1]).all(axis=-1).mean()
        error = SIGMAS * math.sqrt(2 / 9 / len(lone))
        yield from found(
            np.abs(share - 1 / 3).max() > error, "fixed-path", "If no path survives, each of the k "
            "must have the same chance to be kept; yours prefers some. Draw it, rng.integers(k): "
            "only so has each path the mean weight 1/k, which the test phase relies on.")
        yield from found(
            abs(together - 1 / 3) > error, "one-for-all-lost", "If no path survives in several "
            "examples, what they keep is drawn once for all of them. Draw one for each example: "
            "rng.integers(k, size=n).")


def survivors(w, p):
    """Compare how often each set of paths survives with what the rule gives, and others."""
    kept, k = w != 0, w.shape[-1]
    masks, flat = all_masks(k)[1:], kept.reshape(-1, k)
    seen = np.array([(flat == mask).all(axis=1).mean() for mask in masks])
    single, whole = masks.sum(axis=1) == 1, masks.all(axis=1)

    def right(p):
        """One path drawn where none is left, or all drawn anew."""
        chances, none = mask_probabilities(masks, p), (1 - p) ** k
        return chances + none * single / k, chances / (1 - none)

    def off_by(law):
        """Standard errors."""
        return (np.abs(seen - law) / np.sqrt(np.maximum(law * (1 - law), 1e-6) / len(flat))).max()

    chances = mask_probabilities(masks, p)
    laws = {
        "right": right(p),
        "drop-for-keep": right(1 - p),
        "mean-if-none": [chances + (1 - p) ** k * whole],
        "one-path": [single / k],
        "one-too-many": [chances * masks.mean(axis=1) / p],
        "all-or-none": [whole * p + single * (1 - p) / k],
    }
    distance = {name: min(map(off_by, some)) for name, some in laws.items()}
    name = min(distance, key=distance.get)
    yield from found(
        distance["right"] > SIGMAS, name if distance[name] < SIGMAS else "other-law",
        f"With keep_prob={p} and {k} paths, {right(p)[0] @ masks.mean(axis=1):.0%} of them must "
        f"survive, counting the one that is kept when none does; with yours {kept.mean():.0%} do, "
        "or the wrong sets of them. Draw for each path and example: rng.random(...) < keep_prob.")


def join_traits(run, data):
    rng, sizes = np.random.default_rng(data), ((3, 12, 0.4), (2, 5, 0.7), (3, 2, 0.1))
    one, two, few = ((weights(run, 300, *size, rng), size[2]) for size in sizes)
    off = first(
        averaged(*one), averaged(*two), dependent(one[0], ("alike", "opposite")), rescued(few[0]),
        survivors(*one), survivors(*two), dependent(one[0], ""),
        fresh(lambda rng: weights(run, 1, 3, 20, 0.6, rng) != 0))
    other = [k for k in (1, 4) if not off and not is_(weights(run, 1, k, 3, 1.0, rng), 1 / k)]
    return off or found(other, "keep-prob-1", "With keep_prob=1 the join is the mean of all paths; "
                        f"for k={other} yours differs.")


@exercise(
    returns=Array("The result", lambda paths: paths.shape[1:], "That of one path: (n, d).",
                  infinite=LOST.format("0/0")),
    traits=join_traits,
    done="a draw for each path and example, the mean of the survivors, never none.")
def join(paths, keep_prob, rng, *, of=lambda k, n: (k, n), keep=lambda p: p, also=None):
    """Mean of the paths that survive, at least one for each example."""
    k, n, _ = paths.shape
    kept = np.broadcast_to(rng.random(of(k, n)) < keep(keep_prob), (k, n)).copy()
    lucky = np.arange(k)[:, None] == rng.integers(k, size=n)
    kept |= also(kept, lucky) if also else lucky & ~kept.any(axis=0)
    return np.einsum("kn,knd->nd", kept, paths) / kept.sum(axis=0)[:, None]


wrong = join.wrong
wrong("drop-for-keep", "The share of survivors is that of 1 - keep_prob: did you take keep_prob "
      "for the probability to drop a path?", {"keep": lambda p: 1 - p})
wrong("mean-if-none", "If no path survives, your join seems to return the mean of all of them. "
      "Keep ONE, drawn among the k: in training a join with a single path must happen.",
      {"also": lambda kept, lucky: ~kept.any(axis=0)})
wrong("one-path", "Always exactly one path survives. That is global drop-path; here each path is "
      "kept with probability keep_prob, independently, so several may survive.",
      {"keep": lambda p: -1})
wrong("one-too-many", "One path is drawn and kept in every example, even where others survive. It "
      "is needed only where none does.", {"also": lambda kept, lucky: lucky})
wrong("all-or-none", "The paths of an example are kept or dropped together. Each path of each "
      "example needs a draw of its own: (k, n).", {"of": lambda k, n: (1, n)})


# Where dropout stands

ORDER = ["dropout", "convolution", "batch normalization", "ReLU"]
KINDS = dict.fromkeys(("Dropout", "Dropout2d", "SpatialDropout"), ORDER[0]) | dict.fromkeys(
    ("BatchNorm2d", "LazyBatchNorm2d"), ORDER[2]) | {
    "Conv2d": ORDER[1], "ReLU": ORDER[3], "Sequential": "Sequential"}


def kind(layer):
    """What a layer is, by its type or one that it inherits from."""
    names = [each.__name__ for each in type(layer).__mro__]
    return next((KINDS[name] for name in names if name in KINDS), names[0])


def is_net(result):
    return kind(result) == "Sequential"


class Given:
    """A slot for what is no array: what it is called, whether it is one, and what is wanted."""

    def __init__(self, what, is_one, wanted):
        self.what = self.short = what
        self.is_one, self.wanted = is_one, wanted

    def read(self, result, case):
        refuse(not self.is_one(result), "what",
               f"{self.what} must be {self.wanted}; yours is {brief(result)}.")
        return result


def leaves(block):
    """The layers of nested nn.Sequentials, in order."""
    inner = [leaves(each) if is_net(each) else [each] for each in block]
    return [each for some in inner for each in some if type(each).__name__ != "Identity"]


def output_of(what, function, x):
    """What a function makes of a tensor, or an error that says that it does not run."""
    try:
        with silenced():
            return function(x)
    except Exception as error:
        text = f"{type(error).__name__}: {str(error).splitlines()[0][:150]}"
        text = f"{what} does not run on an input of shape {tuple(x.shape)}: {text}"
        raise Missed(text, "does-not-run") from error


def rate(layer, keep_prob):
    """Whether a dropout layer drops with the right probability."""
    ours = hasattr(layer, "keep_prob")
    drops = 1 - layer.keep_prob if ours else layer.p
    hint = "" if ours else " torch's layers take the probability to DROP: 1 - keep_prob."
    yield from found(
        not is_(drops, 1 - keep_prob), "keep-for-drop" if is_(drops, keep_prob) else "other-rate",
        f"With keep_prob={keep_prob:g} dropout must drop with probability {1 - keep_prob:g}; yours "
        f"drops with {drops:g}.{hint}")


def made_wrong(run, in_maps, out_maps, keep_prob):
    """List what is off in a block: its layers, what they do, their order, its dropout."""
    import torch  # here, so that the other checks do without it

    block, again = (run(in_maps=in_maps, out_maps=out_maps, keep_prob=keep_prob) for _ in range(2))
    layers = leaves(block)
    kinds = [kind(layer) for layer in layers]
    if sorted(kinds) != sorted(ORDER):
        return first((True, "other-layer", "The block must have one each of nn.Dropout2d (or "
                      "nn.Dropout), nn.Conv2d, nn.BatchNorm2d and nn.ReLU. Yours has: "
                      f"{', '.join(kinds) or 'nothing'}."))
    x = torch.rand(8, in_maps, 7, 9) + 0.5
    given = x.clone()
    y = output_of(f"The block of make_block({in_maps}, {out_maps}, ...)", block, x)
    drop, conv, norm, _ = (layers[kinds.index(each)] for each in ORDER)
    plain = (conv.kernel_size, conv.groups, conv.dilation) == ((3, 3), 1, (1, 1))
    leave_out = {
        "inplace=True": not torch.equal(x, given), "momentum=0": norm.momentum == 0,
        "track_running_stats=False": norm.running_var is None,
        "eval()": not all(each.training for each in layers),
        "requires_grad_(False)": not all(each.requires_grad for each in block.parameters()),
    }
    return first(
        (not plain or y.shape != (8, out_maps, 7, 9), "size", f"The block must make {out_maps} "
         f"maps of {in_maps}, of the same size, by a plain 3x3 convolution: padding=1, stride 1, "
         f"no groups, no dilation. Yours, {conv}, makes {y.shape[1]} maps of {y.shape[2]}x"
         f"{y.shape[3]} where 7x9 came in."),
        (any(leave_out.values()), "not-plain", "The block must leave its input as it is, remember "
         "running statistics and be ready for training. Leave out "
         f"{', '.join(name for name, on in leave_out.items() if on)}."),
        ((ORDER[0], ORDER[2]) in zip(kinds, kinds[1:], strict=False), "before-batch-norm",
         "Dropout leads straight into batch normalization, which REMEMBERS the variance of "
         "training, with the masks in it. At prediction no mask is on, and it divides by too much. "
         "Put dropout first, before the convolution."),
        (kinds == [*ORDER[1:], ORDER[0]], "last", "Dropout is the last layer. Then what follows "
         "the block gets the noise: a pooling, or the batch normalization of another block, which "
         "would remember it. Put it FIRST, immediately before the convolution."),
        (kinds != ORDER, "order", f"The order is {', '.join(kinds)}. It must be dropout, "
         "convolution, batch normalization, ReLU: BatchNorm sees what the convolution makes, "
         "before the ReLU cuts it."),
        (block is again or conv is leaves(again)[1], "same-block", "Two calls returned the same "
         "block or layers. Each needs weights of its own: make new layers inside the function."),
        rate(drop, keep_prob))


def block_traits(run, data):
    cases = (4, 6, 0.8), (5, 3, 0.4), (3, 3, 1.0)
    with torch_seeded(int(data.integers(1000))):
        return next(filter(None, (made_wrong(run, *case) for case in cases)), [])


@exercise(
    returns=Given("The block", is_net, "an nn.Sequential of the layers"),
    traits=block_traits,
    done="dropout before the convolution, then BatchNorm, then ReLU.")
def make_block(in_maps, out_maps, keep_prob):
    """Dropout, convolution, batch normalization, ReLU."""
    from torch import nn

    conv = nn.Conv2d(in_maps, out_maps, 3, padding=1)
    return nn.Sequential(nn.Dropout2d(1 - keep_prob), conv, nn.BatchNorm2d(out_maps), nn.ReLU())


# What batch normalization remembers


@functools.cache
def front_maker():
    """A net whose maps are others in training, always the same ones: what is dropped is zero."""
    import torch

    from lib.layers import StochasticDepth

    class Front(torch.nn.Sequential):
        def __eq__(self, other):
            weights = zip(self.parameters(), other.parameters(), strict=True)
            return isinstance(other, Front) and all(torch.equal(*pair) for pair in weights)

        __hash__ = torch.nn.Module.__hash__

        def __deepcopy__(self, memo):
            return Front(*copy.deepcopy([*self])).train(self.training)

        def __reduce__(self):  # elsewhere, where there is no such class
            return torch.nn.Sequential, (*self,), {"training": self.training}

    def front(weights):
        n, n_in = weights.shape
        start, branch = (torch.nn.Conv2d(m, n, 1, bias=False).double() for m in (n_in, n))
        for layer, values in ((start, weights), (branch, weights @ weights.T / n_in)):
            layer.weight.data[:, :, 0, 0] = torch.tensor(values)
        dropped = torch.nn.Sequential(branch, torch.nn.Dropout(1.0))
        return Front(start, StochasticDepth(dropped, 1.0))

    return front


def shift_cases(data):
    import torch

    cases = []
    for n, shape, maps in ((1, (6, 2, 4, 5), 3), (3, (5, 3, 2, 4), 6), (4, (7, 1, 3, 2), 2)):
        batches = [torch.tensor(data.normal(i, 1 + i, shape)) for i in range(n)]
        for mode in (False, True):
            net = front_maker()(data.normal(size=(maps, shape[1])))
            cases.append({"front": net.train(mode), "batches": batches})
    return cases


@exercise(
    returns=Array("The result", lambda front: (len(front[0].weight),), "One number for each map."),
    cases=shift_cases,
    otherwise="In each mode take the variance of every map in each batch, over examples and "
    "places, then the mean over the batches; divide the one at prediction by the one in training.",
    done="variance at prediction by the one in training, map by map.")
def shift_ratios(
    front, batches, *, modes=(False, True), ratio=lambda test, train: test / train,
    variance=lambda y: y.var(dim=(0, 2, 3)), over=lambda y, var: sum(map(var, y)) / len(y)):
    """Variance at prediction by that in training, for each map that leaves `front`."""
    means = []
    for mode in modes:
        front.train(front.training if mode is None else mode)
        means.append(over([front(batch).detach() for batch in batches], variance))
    return ratio(*means).numpy()


wrong = shift_ratios.wrong
wrong("same-mode", "The two variances are of one mode. Call front.train() before you measure the "
      "one in training, and front.eval() before the one at prediction.",
      *varied("modes", (True, True), (None, True)),
      {"modes": (None, False), "ratio": lambda train, test: test / train})
wrong("turned-round", "The ratio is turned round: it is the variance at prediction DIVIDED BY the "
      "one in training.", {"ratio": lambda test, train: train / test})
wrong("not-squared", "This is the ratio of standard deviations. Batch normalization stores "
      "variances.", *varied("variance", lambda y: y.std(dim=(0, 2, 3))))
wrong("other-axes", "The variance of a map is taken over examples and places TOGETHER, as batch "
      "normalization does it: y.var(dim=(0, 2, 3)). Yours is taken over a part of them.",
      *varied("variance", lambda y: y.var(dim=(2, 3)).mean(0), lambda y: y.var(dim=0).mean((1, 2)),
              lambda y: y.mean((2, 3)).var(dim=0)))
wrong("mean-of-ratios", "This is a mean of ratios, one for each batch. Average the variances over "
      "the batches first, as batch normalization does, and divide then.",
      {"over": lambda y, var: [*map(var, y)],
       "ratio": lambda test, train: sum(map(lambda a, b: a / b, test, train)) / len(test)})
wrong("batches-joined", "The batches are joined, so the variance between them counts, too. Batch "
      "normalization sees one batch at a time: a variance for each batch, then their mean.",
      {"over": lambda y, var: var(y[0].new_tensor(np.concatenate(y)))})
wrong("one-batch", "Only one of the batches counts. Take the mean over all of them.",
      *varied("over", lambda y, var: var(y[0]), lambda y, var: var(y[-1])))
wrong("momentum", "This is running_var with its momentum, which begins at 1 and weighs the last "
      "batches most. momentum=None gives the plain mean over the batches.",
      *varied("over", lambda y, var: functools.reduce(
          lambda mean, each: 0.9 * mean + 0.1 * var(each), y, 1.0)))


# A script with mistakes

SCRIPT = ["Conv2d", "BatchNorm2d", "ReLU", "MaxPool2d", "Conv2d", "BatchNorm2d", "ReLU", "Flatten",
          "Linear"]


def net_wrong(net, images, keep_prob):
    """List what is off in the net: its layers, the places and arguments of its dropout."""
    layers, shapes, h = leaves(net), [], images
    for layer in layers:
        shapes.append(h.shape)
        h = output_of("The repaired net", layer, h)
    names, kinds = [type(layer).__name__ for layer in layers], [kind(layer) for layer in layers]
    dropouts = [i for i, name in enumerate(names) if "ropout" in name]
    of_maps = [i for i in dropouts if names[i] not in ("Dropout", "AlphaDropout")]
    others = [name for name in names if "ropout" not in name]
    sizes, right = ([w.shape for w in each.parameters()] for each in (net, repaired.right(0.5)[0]))
    following = [next((n for n in kinds[i:] if n in ORDER[1:3]), None) for i in dropouts]
    return first(
        (len(dropouts) < 2, "dropout-removed", "A dropout layer is gone. That does away with the "
         "mistake, and with its use: repair its place, its kind or its argument."),
        (len(dropouts) > 2 or others != SCRIPT or sizes != right, "other-layers", "Besides the two "
         f"dropout layers all stays as it is, order and sizes: {', '.join(SCRIPT)}."),
        (ORDER[2] in following, "before-batch-norm", "Dropout leads straight into batch "
         "normalization, which remembers the variance with masks. At prediction there are none. "
         "Put it immediately before the convolution."),
        (any(len(shapes[i]) != 4 for i in of_maps), "maps-of-flat", "Behind nn.Flatten there "
         "are no maps: a layer for maps, such as nn.Dropout2d, wants 4 dimensions, and warns that "
         "2 will be an error. Single numbers are dropped by nn.Dropout."),
        (len(layers) - 1 in dropouts or any(shapes[i][1] == 1 for i in of_maps)
         or any(kinds[i] != ORDER[0] for i in dropouts), "misplaced",
         "A dropout layer is of another kind, or drops whole images or the scores of classes. Put "
         "nn.Dropout2d before the second convolution, nn.Dropout before nn.Linear."),
        (not net.training, "eval-mode", "The net comes in evaluation mode, so its dropout would be "
         "off in training: call eval() inside predict."),
        *(rate(layers[i], keep_prob) for i in dropouts))


def predict_wrong(net, predict, images):
    """List what is off in predictions: made without masks, and training goes on."""
    import torch

    def predicted():
        y = output_of("predict", lambda x: torch.as_tensor(predict(x)).detach().clone(), images)
        return y, net.training

    net.train()(images)
    stored = copy.deepcopy(net.state_dict())
    (once, training), (again, _) = predicted(), (net.train() and predicted())
    changed = any(not value.equal(stored[key]) for key, value in net.state_dict().items())
    right = net.eval()(images).softmax(dim=1).detach()
    net.train()
    return first(
        (changed or not once.equal(again), "mask-at-prediction", "predict works in training mode: "
         "masks are on, or batch normalization goes by the images at hand and learns from them. "
         "Call net.eval() in predict, before net(images)."),
        (once.shape != right.shape or not is_(once, right), "other-prediction",
         "predict must give probabilities: softmax(dim=1) of the net's output in evaluation mode, "
         "for all images. Yours differs."),
        (not training, "stays-in-eval", "predict leaves the net in evaluation mode. From the next "
         "epoch on it would train without dropout: call net.train() again before you return."))


def repaired_traits(run, data):
    import torch

    with torch_seeded(int(data.integers(1000))):
        images = torch.rand(50, 1, 8, 8)
        for keep_prob in (0.8, 0.3):
            net, predict = run(keep_prob=keep_prob)
            off = net_wrong(net, images, keep_prob) or predict_wrong(net, predict, images)
            if off:
                return off
    return []


@exercise(
    returns=(Given("net", is_net, "an nn.Sequential"), Given("predict", callable, "a function")),
    traits=repaired_traits,
    done="four mistakes repaired: keep for drop, two places, no eval().")
def repaired(keep_prob):
    """The script's net and its predictions, without its mistakes."""
    from torch import nn

    net = nn.Sequential(
        nn.Conv2d(1, 8, 3, padding=1), nn.BatchNorm2d(8), nn.ReLU(), nn.MaxPool2d(2),
        nn.Dropout2d(1 - keep_prob), nn.Conv2d(8, 16, 3, padding=1), nn.BatchNorm2d(16), nn.ReLU(),
        nn.Flatten(), nn.Dropout(1 - keep_prob), nn.Linear(256, 10))

    def predict(images):
        net.eval()
        probabilities = net(images).softmax(dim=1)
        net.train()
        return probabilities

    return net, predict
