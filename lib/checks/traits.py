"""Traits of what is drawn: which draws are shared, how much is kept, by what it is scaled.

Each function yields a `Finding` for what is off, and nothing for a right answer, but for one in ten
billion. A finding's name tells kinds of mistakes apart; its sentence is for the student.
"""

import itertools
import math
import sys
import tracemalloc
from contextlib import contextmanager

import numpy as np
from scipy import stats

from lib.checks.engine import found

SIGMAS = 6.5
RARE = 1e-11

FACTORS = {
    "1": lambda keep_prob: 1.0,
    "keep_prob": lambda keep_prob: keep_prob,
    "1/keep_prob": lambda keep_prob: 1 / keep_prob,
    "1 - keep_prob": lambda keep_prob: 1 - keep_prob,
    "1/(1 - keep_prob)": lambda keep_prob: 1 / (1 - keep_prob),
    "1/keep_prob^2": lambda keep_prob: 1 / keep_prob**2,
    "sqrt(1/keep_prob)": lambda keep_prob: keep_prob**-0.5,
}
SCALES = {  # by what kept ones are multiplied, in place of 1/keep_prob: (name, sentence)
    "1": ("not-scaled", "{what} kept are not scaled. With probability {p} they are there at all, "
          "so the mean is {p} times what it was: divide by {p}."),
    "keep_prob": ("multiplied", "{what} kept are multiplied by {p}, which makes the mean smaller "
                  "once more. They are missing often enough already: divide by {p}."),
    "1/keep_prob^2": ("divided-twice", "{what} kept are divided by {p} twice. Once restores the "
                      "mean."),
    "1/(1 - keep_prob)": ("divided-by-drop", "{what} kept are divided by 1 - {p}, the probability "
                          "to drop. The mean of a mask is {p}: divide by that."),
    "1 - keep_prob": ("multiplied-by-drop", "{what} kept are multiplied by 1 - {p}. The mean of a "
                      "mask is {p}: divide by that."),
    "sqrt(1/keep_prob)": ("divided-by-root", "{what} kept are divided by the root of {p}. That "
                          "keeps the mean square; {p} itself keeps the mean."),
}  # fmt: skip
BY_SHARE = "Did you divide by the share that happened to be kept? Divide by keep_prob itself."

SHARED = {
    "call": "Two calls drew the same mask. Every minibatch needs a fresh one: is a generator "
    "seeded inside your function? Draw from the rng it is given.",
    "example": "One mask for the whole batch: every example lost the same {what}. Each example "
    "needs a mask of its own, so draw a number for each example and each {one}.",
    "unit": "In each example all {what} are kept or dropped together. Each needs its own draw.",
}
ALTERNATIVES = {  # what may stand for keep_prob
    "drop-for-keep": (lambda p: 1 - p, "did you take {name} for the probability to drop?"),
    "two-masks": (lambda p: p**2, "which is {name} squared: are there two masks, one on another?"),
    "root-of-keep": (lambda p: math.sqrt(p), "which is the root of {name}."),
    "always-half": (lambda p: 0.5, "is a probability of 1/2 built in?"),
}

# What is taken for the variance (1 - p) / p of an inverted mask: the idea's name, the formula in
# words, the formula, and what it means.
VARIANCES = (
    ("no-scale", "keep_prob * (1 - keep_prob)", lambda p: p * (1 - p),
     "that of zeros and ones without a scale. Scaled by 1/keep_prob, a mask has its variance "
     "divided by keep_prob squared: (1 - keep_prob) / keep_prob."),
    ("slides", "1 - keep_prob", lambda p: 1 - p,
     "which is what the slides' p(1 - p)/p comes to. That is a slip: dividing by p divides "
     "the variance p(1 - p) by p squared, which leaves (1 - keep_prob) / keep_prob."),
    ("upside-down", "keep_prob / (1 - keep_prob)", lambda p: p / (1 - p),
     "upside down: did you take keep_prob for the probability to drop? "
     "It is (1 - keep_prob) / keep_prob, and vanishes where everything is kept."),
    ("root-of-variance", "the root of (1 - keep_prob) / keep_prob", lambda p: ((1 - p) / p) ** 0.5,
     "the standard deviation of the mask: one root too many. (1 - keep_prob) / keep_prob is "
     "a variance."),
    ("divided-once-more", "(1 - keep_prob) / keep_prob^2", lambda p: (1 - p) / p**2,
     "divided by keep_prob once too often. It is (1 - keep_prob) / keep_prob."),
    ("mean-square", "1 / keep_prob", lambda p: 1 / p,
     "the mean square of a scaled mask. Its variance is less, by the square of its mean: "
     "1/keep_prob - 1, that is (1 - keep_prob) / keep_prob."),
    ("always-1", "1", lambda p: 1.0,
     "whatever keep_prob is. The fewer units dropout keeps, the larger the variance: "
     "(1 - keep_prob) / keep_prob."),
)  # fmt: skip


def first(*parts):
    """List what the first part finds that finds anything: the arguments of `found`, or findings."""
    for part in parts:
        off = list(found(*part) if isinstance(part, tuple) else part)
        if off:
            return off
    return []


@contextmanager
def torch_seeded(seed):
    """Seed torch's generator for a while: what the student drew from it goes on afterwards."""
    import torch  # here, so that the other checks do without it

    with torch.random.fork_rng():
        torch.manual_seed(seed)
        yield


def alternative(share, keep_prob, n, name="keep_prob"):
    """What stood for keep_prob, if this share of n coins was kept: its name, what it means."""

    def distance(p):
        return abs(share - p) / math.sqrt(max(p * (1 - p), 1e-9) / n)

    if distance(keep_prob) < SIGMAS:
        return None, ""
    ways = ((abs(share - of(keep_prob)), label, text.format(name=name))
            for label, (of, text) in ALTERNATIVES.items()
            if distance(of(keep_prob)) < SIGMAS)  # fmt: skip
    return min(ways, default=(0, "share", f"it asks for {keep_prob:.0%}."))[1:]


def preferring(sentences):
    """A `found` that takes these sentences, by the names of findings, where there is one."""
    return lambda off, name, text: found(off, name, sentences.get(name, text))


def coins(kept, keep_prob, axes, what="units", name="keep_prob", sentences=None):
    """Independent coins: who shares one, how many say "kept", and whether they know of each other.

    Parameters
    ----------
    kept : numpy.ndarray of bool
        At least some thousand entries.
    keep_prob : float
        The probability to keep that was asked for, not 1/2; the exercise calls it `name`.
    axes : sequence of str
        What the axes of `kept` are, in the singular: "call", "example", "unit", "map" ...
    what : str
        What is kept, in the plural.
    sentences : dict, optional
        From the name of a finding to a sentence that is better here.
    """
    one = what.removesuffix("s")
    say = {f"shared-by-{axis}s": text.format(what=what, one=one) for axis, text in SHARED.items()}
    say |= sentences or {}
    off = preferring(say)
    if kept.all() or not kept.any():
        yield from off(kept.all(), "no-mask", f"No {one} was dropped: where is the mask?")
        text = f"Every {one} of every example was dropped: nothing gets through."
        yield from off(not kept.any(), "all-dropped", text)
        return
    shared = [(kept == kept.take([0], axis)).all() for axis in range(kept.ndim)]
    for equal, label in zip(shared, axes, strict=True):
        text = f"All {label}s share one draw. Each {label} needs a draw of its own."
        yield from off(equal, f"shared-by-{label}s", text)
    lone = kept[tuple(0 if equal else slice(None) for equal in shared)]
    share, labels = lone.mean(), list(itertools.compress(axes, np.logical_not(shared)))
    label, text = alternative(share, keep_prob, lone.size, name)
    text = f"You kept {share:.1%} of the {what}, with {name}={keep_prob:g}: {text}"
    yield from off(label, label, text)
    for axis, label in enumerate(labels):
        n, each = lone.shape[axis], np.moveaxis(lone, axis, 0).reshape(lone.shape[axis], -1)
        always, never = each.all(axis=1), ~each.any(axis=1)
        if (always.any() or never.any()) and n * max(share, 1 - share) ** each.shape[1] < RARE:
            which = int(np.argmax(always | never))
            word = "always" if always[which] else "never"
            text = f"{label.capitalize()} {which} is {word} kept. Each is a coin like the others."
            yield from off(True, f"{word}-kept-{label}", text)
            return
    spread = math.sqrt(max(share * (1 - share), 1e-12))
    yield from independent((lone - share) / spread, labels, what, say, mean_removed=True)


def independent(z, axes, what="numbers", sentences=None, mean_removed=False):
    """Whether entries with mean 0 and variance 1 know nothing of each other.

    Looks at sums over the slices of each axis, whose variance tells a fixed total or a common
    draw; and at products of pairs of slices: neighbours, halves, mirrored ones. What its `axes` and
    entries are, and `sentences`, are given as to `coins`; `mean_removed` says that the mean was
    taken from the entries themselves, so that they sum to 0.
    """
    off = preferring(sentences or {})
    for axis, label in enumerate(axes):
        sign = _dependence(np.moveaxis(z, axis, 0).reshape(z.shape[axis], -1))
        kind = "alike" if sign > 0 else "opposite"
        yield from off(sign, f"{kind}-{label}s", f"{label.capitalize()}s come in pairs whose draws "
                       f"are {kind}. All draws must be independent of each other.")  # fmt: skip
    for axis, label in enumerate(axes):
        n = z.shape[axis]
        if n < 4 or z.size == n:
            continue
        sums = z.sum(axis=tuple(i for i in range(z.ndim) if i != axis))
        ratio, freedom = (sums**2).sum() / (z.size / n), n - mean_removed
        low, high = stats.chi2.ppf([RARE, 1 - RARE], freedom)
        text = (f"Every {label} has nearly the same total. Draws that are independent of each "
                f"other leave it to chance: it varies from {label} to {label}.")  # fmt: skip
        yield from off(ratio < low, f"fixed-total-per-{label}", text)
        text = (f"The {what} of one {label} hang together: their total varies more than that of "
                "independent draws. Each needs a draw of its own.")  # fmt: skip
        yield from off(ratio > 1.3 * high, f"common-draw-per-{label}", text)


def _dependence(rows):
    """1 or -1 if rows are alike or opposite in pairs, 0 if they look independent."""
    n = len(rows)
    if n < 2:
        return 0
    index = np.arange(n)
    half, even = n // 2, index[: n - n % 2 : 2]
    pairings = [(even, even + 1), (index[:-1], index[1:]), (index[:half], index[:half] + half),
                (index[:half], n - 1 - index[:half])]  # fmt: skip
    for one, other in pairings:
        products = rows[one] * rows[other]
        size = math.sqrt(products.size) * products.mean()
        if abs(size) > 7.5 and abs(products.mean()) > 0.05:
            return int(np.sign(size))
    return 0


def factor(values, units):
    """By what one factor do `values` differ from `units`? None if by several, or there are none."""
    ratios = values / units
    one = ratios.size and np.allclose(ratios, ratios.flat[0], rtol=1e-4)
    return float(ratios.flat[0]) if one else None


def factor_name(value, keep_prob):
    """The name in `FACTORS` of a factor, or None."""
    close = (n for n, f in FACTORS.items() if math.isclose(value, f(keep_prob), rel_tol=1e-3))
    return None if value is None else next(close, None)


def scaled(value, keep_prob, what, p="keep_prob"):
    """Whether what is kept is multiplied by 1/keep_prob: `value`, None if by no one number."""
    name, times = factor_name(value, keep_prob), f"{value or 0:.4g}, with {{p}}={keep_prob:g}"
    text = f"{{what}} kept are multiplied by {times}: divide by {{p}}."
    label, text = SCALES.get(
        name, ("by-share", BY_SHARE) if value is None else ("other-factor", text)
    )
    yield from found(name != "1/keep_prob", label, text.format(what=what, p=p))


def layer(run, units, keep_prob, wanted, sentences):
    """A dropout layer in its two phases: mask, freshness, factors.

    Parameters
    ----------
    run : callable
        ``run(phase, rng)``: what the layer makes of `units`.
    units : numpy.ndarray, shape (examples, units)
        The activations without dropout, none of them 0.
    keep_prob : float
    wanted : tuple of str
        The factors in training and at prediction, by their names in `FACTORS`.
    sentences : dict
        From a pair of such names to (name of the finding, sentence); from the name of a finding of
        `coins` to a sentence.
    """
    rng = np.random.default_rng(2)
    train = np.array([run("train", rng) for _ in range(20)])
    test, again = run("test", rng), run("test", rng)
    if (test == 0).any() or not np.array_equal(test, again):
        masked = (train == 0).any()
        yield from found(not masked, "phases-swapped", "The two phases are swapped: units are "
                         "dropped at prediction and none in training.")  # fmt: skip
        yield from found(masked, "mask-at-prediction", "The mask is still on at prediction: units "
                         "are dropped there too. At prediction all units take part, and the same "
                         "input always gives the same output. "
                         + sentences.get("mask-at-prediction", ""))  # fmt: skip
        return
    kept = train != 0
    yield from coins(kept, keep_prob, ("call", "example", "unit"), sentences=sentences)
    yield from fresh(lambda rng: run("train", rng))
    yield from factors(factor(train[kept], np.broadcast_to(units, kept.shape)[kept]),
                       factor(test, units), keep_prob, wanted, sentences)  # fmt: skip


def factors(train, test, keep_prob, wanted, sentences):
    """The factors of kept activations in training, and of all at prediction; see `layer`."""
    names = tuple(factor_name(value, keep_prob) for value in (train, test))
    if names == wanted:
        return
    yours = ["no single factor" if value is None else f"{value:.4g}" for value in (train, test)]
    general = (
        f"Kept activations must be multiplied by {wanted[0]} in training and all of them by "
        f"{wanted[1]} at prediction; yours are multiplied by {yours[0]} and {yours[1]}, with "
        f"keep_prob={keep_prob:g}."
    )
    if train is None:
        general += " " + (BY_SHARE if wanted[0] == "1/keep_prob" else "Nothing is divided there.")
    label, sentence = sentences.get(names, (f"factors-{names[0]}-{names[1]}", general))
    yield from found(True, label, sentence)


def fresh(draw):
    """Two calls of ``draw(rng)``, an array or a number, draw anew; with one seed they are equal."""
    rng = np.random.default_rng(1)
    first, second = draw(rng), draw(rng)
    yield from found(np.array_equal(first, second), "shared-by-calls", SHARED["call"])
    yield from found(
        not np.array_equal(first, draw(np.random.default_rng(1))), "not-from-rng",
        "Two generators with the same seed gave different masks or numbers. Draw all random "
        "numbers from the rng your function is given, so that an experiment can be repeated.",
    )  # fmt: skip


def costly(run, steps=30_000, memory=300_000):
    """Whether a call goes through all of 2^16 things: counted, so that no busy machine matters.

    The argument of the call `run` has size 16, and it is not the first of its kind. Lines of Python
    and bytes held at once are counted: fewer are allowed than 2^16 things need.
    """
    old, taken = sys.gettrace(), 0

    class TooMany(BaseException):
        pass

    def count(frame, event, arg):
        nonlocal taken
        taken += 1
        if taken > steps:
            raise TooMany
        return count

    was_on = tracemalloc.is_tracing()
    tracemalloc.start()
    tracemalloc.reset_peak()
    before = tracemalloc.get_traced_memory()[0]
    sys.settrace(count)
    try:
        run()
    except TooMany:
        pass
    finally:
        sys.settrace(old)
        used = tracemalloc.get_traced_memory()[1] - before
        if not was_on:
            tracemalloc.stop()
    yield from found(
        taken > steps or used > memory, "goes-through-all",
        "It is right for small sizes, but the work doubles with each further entry: your function "
        "goes through all 2^n of them. With n = 40 it would not end. Look for a closed form.",
    )  # fmt: skip
