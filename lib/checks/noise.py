"""Checks of the exercises on noise."""

import math
from itertools import islice

import numpy as np
from scipy import stats

from lib.checks.engine import Array, Number, exercise, found, summary_of, varied
from lib.checks.traits import RARE, SHARED, SIGMAS, VARIANCES, factor, fresh, independent

summary = summary_of("noise")


def variance(p):
    """That of the inverted mask."""
    return (1 - p) / p


# A mask without zeros

EACH = "Draw a number for each example and each unit."
SHARED_NOISE = {
    "call": SHARED["call"],
    "example": f"One mask for the whole batch: every example gets the same noise. {EACH}",
    "unit": f"In each example all units get the same noise. {EACH}",
}
MEANS = {
    "noise-to-add": (lambda p: 0.0, "The mask has mean 0: this is noise to add. A mask multiplies: "
                     "it needs mean 1, so that an activation keeps its mean."),
    "mean-keep-prob": (lambda p: p, "The mask has mean keep_prob, as zeros and ones without a "
                       "scale have. It needs mean 1, as the inverted mask has: then prediction "
                       "needs no factor."),
    "mean-inverse": (lambda p: 1 / p, "The noise has mean 1/keep_prob: is something divided by "
                     "keep_prob? N(1, ...) has mean 1 already, so nothing is to be made up for."),
}  # fmt: skip
NOT_GAUSSIAN = (
    "Mean and variance are right, but the entries are not Gaussian. Draw them with rng.normal."
)
AS_DEVIATION = (
    "The standard deviation is {}. rng.normal takes the standard deviation; (1 - keep_prob) / "
    "keep_prob is the variance, so pass its root."
)


def gaussian_traits(masks, keep_prob, axes):
    """Independent draws from N(1, (1 - keep_prob) / keep_prob)."""
    value = masks.flat[0]
    text = f"There is no noise: everything is multiplied by {value:.4g}."
    yield from found(np.allclose(masks, value), "no-noise", text)
    for axis, label in enumerate(axes):
        text = SHARED_NOISE.get(label, f"All {label}s share one draw: each needs its own.")
        yield from found(np.allclose(masks, masks.take([0], axis)), f"shared-by-{label}s", text)
    yield from repeated_values(masks)
    z = (masks - masks.mean()) / masks.std()
    yield from independent(z, axes, "noise", mean_removed=True)
    yield from moments(masks, keep_prob)
    some = standard(masks, keep_prob)[:20000]
    distance = math.sqrt(math.log(2 / RARE) / (2 * len(some)))  # by chance once in 10^11
    off = stats.kstest(some, "norm").statistic > distance
    yield from found(off, "not-gaussian", NOT_GAUSSIAN)


def repeated_values(masks):
    """Values that come again: something is dropped, clipped or rounded."""
    values, counts = np.unique(masks.round(5), return_counts=True)
    most, share = values[counts.argmax()], counts.max() / masks.size
    often, negative = share > 0.005, (masks < 0).any()
    several = masks.size * stats.norm.cdf(0, masks.mean(), masks.std()) > 30  # should be below 0
    # fmt: off
    kinds = (
        ("bernoulli", len(values) == 2 and 0 in values,
         "This is a Bernoulli mask: an entry is dropped, or not. A Gaussian mask takes its place, "
         "with the same mean and variance, but it varies continuously and drops nothing."),
        ("rounded", len(values) < 0.03 * masks.size,
         f"Among {masks.size} entries there are only {len(values)} different values. A Gaussian "
         "varies continuously: is something rounded?"),
        ("clipped-at-0", often and most == 0 and not negative,
         "Negative entries were set to 0. They belong to a Gaussian mask: without them its mean is "
         "above 1 and its variance too small. A unit may come out with its sign turned."),
        ("zeros-as-well", often and most == 0,
         f"{share:.0%} of the entries are 0. A Gaussian mask drops nothing, it takes the place of "
         "the Bernoulli mask. Are there zeros and ones as well, or is the product clipped, or "
         "rounded?"),
        ("clipped", often,
         f"{share:.1%} of the entries are {most:.3g} exactly: is the mask clipped there, or part "
         "of the activations left as it is? A Gaussian has no bounds, and varies continuously."),
        ("no-negative-entries", several and not negative,
         "The mask has no negative entries. A Gaussian has them, and they belong: without them the "
         "mean or the variance is off. Take what rng.normal gives: no absolute values, no drawing "
         "again."),
    )
    # fmt: on
    for name, off, text in kinds:
        yield from found(off, name, text)


def moments(masks, keep_prob):
    """Mean and variance."""
    mean, var, n = masks.mean(), masks.var(), masks.size
    reach, rough = SIGMAS * math.sqrt(var / n), SIGMAS * math.sqrt(2 / n)

    def near(value):
        return math.isclose(var, value, rel_tol=rough)

    if abs(mean - 1) > reach:
        for name, (of, text) in MEANS.items():
            yield from found(abs(mean - of(keep_prob)) < reach, name, text)
        text = f"The noise has the mean {mean:.3f}, with keep_prob={keep_prob}. It must be 1."
        yield from found(True, "mean", text)
    right = variance(keep_prob)
    if not near(right):
        for name, formula, of, why in VARIANCES:
            yield from found(near(of(keep_prob)), name, f"The variance is {formula}, {why}")
        formulas = {"variance": ("(1 - keep_prob) / keep_prob", variance)}
        for name, (formula, of) in (formulas | {v[0]: v[1:3] for v in VARIANCES}).items():
            text = AS_DEVIATION.format(formula)
            yield from found(near(of(keep_prob) ** 2), f"{name}-as-deviation", text)
        text = (f"The variance of the noise is {var:.3f}; with keep_prob={keep_prob} it must be "
                f"{right:.3f}, that of the inverted dropout mask.")  # fmt: skip
        yield from found(True, "variance", text)


def standard(masks, keep_prob):
    return ((masks - 1) / math.sqrt(variance(keep_prob))).ravel()


def tails(*z):
    """Whether skew and kurtosis are those of a Gaussian."""
    z = np.concatenate(z)
    off = (abs(stats.kurtosis(z)) > SIGMAS * math.sqrt(24 / z.size)
           or abs(stats.skew(z)) > SIGMAS * math.sqrt(6 / z.size))  # fmt: skip
    yield from found(off, "not-gaussian", NOT_GAUSSIAN)


def mask_traits(run, data):
    z = []
    for keep_prob, shape, axes in (
        (0.75, (100, 50), ("example", "unit")),
        (0.3, (30, 120), ("example", "unit")),
        (0.5, (12, 20, 15), ("row", "column", "layer")),
    ):
        rng = np.random.default_rng(data)
        masks = np.array([run(shape=shape, keep_prob=keep_prob, rng=rng) for _ in range(40)])
        yield from gaussian_traits(masks, keep_prob, ("call", *axes))
        z.append(standard(masks, keep_prob))
    yield from tails(*z)
    yield from fresh(lambda rng: run(shape=(4, 50), keep_prob=0.8, rng=rng))
    ones = run(shape=(7,), keep_prob=1.0)
    text = "With keep_prob=1 the variance is 0, and the mask is all 1."
    yield from found(not np.allclose(ones, 1), "keep-prob-1", text)


@exercise(
    returns=Array("The mask", lambda shape: shape, "It has the shape that is asked for."),
    traits=lambda run, data: islice(mask_traits(run, data), 1),
    done="mean 1, variance (1 - keep_prob)/keep_prob, fresh.",
)
def gaussian_mask(shape, keep_prob, rng):
    """Gaussian noise with mean and variance of the inverted mask."""
    return rng.normal(1, math.sqrt(variance(keep_prob)), shape)


# Gaussian dropout


def dropout_traits(run, data):
    z = []
    for keep_prob, shape in ((0.75, (100, 50)), (0.3, (30, 120))):
        x = data.uniform(0.5, 2.0, shape) * data.choice([-1, 1, 1, 1], shape)
        x[:, -2:] = 0  # units that are silent
        given, rng = {"x": x, "keep_prob": keep_prob}, np.random.default_rng(2)
        test, again = (run(phase="test", rng=rng, **given) for _ in range(2))
        train = np.array([run(phase="train", rng=rng, **given) for _ in range(40)])
        yield from prediction(test, again, x, keep_prob, np.allclose(train, x))
        yield from found(
            train[:, :, -2:].any(), "added",
            "A unit that says 0 says something else in training, so noise is added to it. Dropout "
            "multiplies, x * mask: what is 0 stays 0, and large activations get large noise.",
        )  # fmt: skip
        noise = train[:, :, :-2] / x[:, :-2]
        text = "Negative activations come out positive: multiply x itself, not its absolute value."
        yield from found(noise[:, x[:, :-2] < 0].mean() < -0.3, "sign-lost", text)
        text = "The noise depends on the activation: multiply x itself, by draws that know no x."
        r = np.corrcoef(noise.mean(axis=0).ravel(), np.abs(x[:, :-2]).ravel())[0, 1]
        yield from found(abs(r) > 0.2, "depends-on-x", text)
        yield from gaussian_traits(noise, keep_prob, ("call", "example", "unit"))
        yield from fresh(lambda rng, given=given: run(phase="train", rng=rng, **given))
        z.append(standard(noise, keep_prob))
    yield from tails(*z)
    same = np.allclose(run(phase="train", x=x, keep_prob=1.0), x)
    text = "With keep_prob=1 there is no noise, and training returns x as it is."
    yield from found(not same, "keep-prob-1", text)


def prediction(test, again, x, keep_prob, clean):
    """What is off at prediction; `clean` is whether training has no noise."""
    noisy = not np.array_equal(test, again)
    text = "The two phases are swapped: there is noise at prediction, and none in training."
    yield from found(noisy and clean, "phases-swapped", text)
    yield from found(
        noisy, "noise-at-prediction",
        "The noise is still on at prediction. There x is returned as it is, and the same input "
        "always gives the same output.",
    )  # fmt: skip
    scale = factor(test[:, :-2], x[:, :-2]) or 0
    why = "The mask has mean 1, so activations are as large in training as at prediction: return x."
    for of, how in ((keep_prob, "multiplied"), (1 / keep_prob, "divided")):
        text = f"At prediction the activations are {how} by keep_prob. {why}"
        off = math.isclose(scale, of, rel_tol=1e-3)
        yield from found(off, f"{how}-at-prediction", text)
    text = f"At prediction the output differs from x. {why}"
    yield from found(not np.allclose(test, x), "not-the-identity", text)


@exercise(
    returns=Array("The output", lambda x: x.shape, "It has the shape of x."),
    traits=lambda run, data: islice(dropout_traits(run, data), 1),
    phases=lambda data: {"x": data.normal(size=(5, 3)), "keep_prob": 0.8},
    done="multiplied in training, the identity at prediction.",
)
def gaussian_dropout(x, keep_prob, phase, rng):
    """Multiply by Gaussian noise in training, do nothing at prediction."""
    if phase not in ("train", "test"):
        raise ValueError(f'phase must be "train" or "test", got {phase!r}')
    return x * gaussian_mask.right(x.shape, keep_prob, rng) if phase == "train" else x


# How active and how correlated hidden units are


def unit_cases(data):
    """Activations after a ReLU; the last unit repeats the first, the second is hardly active."""
    cases = []
    for n, units, dead in ((60, 7, ()), (12, 20, ()), (60, 7, (0, 3, 5)), (9, 2, ()), (8, 3, (3,))):
        h = np.maximum(0.3 + data.normal(size=(n, 4)) @ data.normal(size=(4, units)), 0)
        h[0] += 1  # all are alive
        h[:, 0] += 0.1  # and one always is active
        h *= data.uniform(0.5, 3, size=units)
        h[:, 1], h[-1, 1] = 0, 1e-3
        h[2] *= not dead  # an example for which no unit is active
        h[:, -1] = 2 * h[:, 0] if units > 2 else np.maximum(3 - h[:, 0], 0)
        cases.append({"H": np.insert(h, dead, 0, axis=1)})
    return cases


def living(h):
    return h[:, h.any(axis=0)]


@exercise(
    returns=(Number("n_dead"), Number("share_active"), Number("mean_activation")),
    cases=unit_cases,
    otherwise="Take out the columns that are 0 for every example; then the share of entries above "
    "0, and the mean of all entries.",
    done="dead units counted and left out, zeros of live units counted in.",
)
def activity(H, *, dead=lambda h: (~h.any(axis=0)).sum(), live=living,
             share=lambda h: (h > 0).mean(), mean=np.mean):  # fmt: skip
    """Number of dead units; share of active and mean of all activations of the others."""
    return dead(H), share(live(H)), mean(live(H))


# fmt: off
wrong = activity.wrong
wrong("dead-counted-in", "{what} is taken over all units, the dead ones included. Then more deaths "
      "would look like a sparser code: leave the dead out.", {"live": lambda h: h})
wrong("mean-of-active", "{what} is taken over the active entries only. The zeros of a live unit "
      "count as well: one that is silent more often has a lower mean.",
      {"mean": lambda h: h[h > 0].mean()})
wrong("every-live-unit", "{what} counts zeros as active, or a unit that is so for any example: of "
      "live units that is all. Count each example and unit: the share of entries above 0.",
      {"share": lambda h: (h >= 0).mean()})
wrong("share-of-live", "{what} is the share of units that are alive. Count each example and unit: "
      "the share of entries above 0.",
      {"share": lambda h: (h > 0).any(axis=0).mean(), "live": lambda h: h})
wrong("silent-share", "{what} is the share of zeros. Active means above 0.",
      {"share": lambda h: (h == 0).mean()})
wrong("threshold", "{what} has a threshold of its own. However small, any activation above 0 "
      "counts.",
      *varied("share", *(lambda h, t=t: (h > t).mean() for t in (0.01, 0.05, 0.1, 0.5, 1))),
      *varied("share", lambda h: (h > h.mean()).mean(), lambda h: (h > np.median(h)).mean()))
wrong("count-for-share", "{what} is a count. Divide by how many entries the live units have.",
      *varied("share", lambda h: (h > 0).sum(), lambda h: (h > 0).sum(axis=1).mean()),
      *varied("share", lambda h: (h > 0).sum(axis=0).mean()))
wrong("percent", "{what} is in percent: return a share from 0 to 1.",
      {"share": lambda h: 100 * (h > 0).mean()})
wrong("other-average", "{what} is another number: a sum, a median, a maximum, a standard "
      "deviation. Take the mean of all entries of live units.",
      *varied("mean", np.sum, np.median, np.max, np.std, np.var, lambda h: h.sum(axis=1).mean()),
      *varied("mean", lambda h: h.sum(axis=0).mean(), lambda h: h.max(axis=0).mean()))
wrong("live-for-dead", "{what} counts the units that are alive.",
      {"dead": lambda h: h.any(axis=0).sum()})
wrong("share-of-dead", "{what} is a share: count the units.",
      {"dead": lambda h: (~h.any(0)).mean()})
wrong("dead-for-one-example", "{what} takes a unit for dead if it is 0 for some example. Dead "
      "units are 0 for EVERY example.", {"dead": lambda h: (h == 0).any(axis=0).sum()},
      {"live": lambda h: h[:, (h > 0).all(axis=0)]})
wrong("nearly-dead", "{what} takes units for dead that are nearly always, or nearly, 0. One "
      "example that wakes a unit is enough for it to be alive.",
      *varied("dead", *(lambda h, t=t: (h.mean(axis=0) < t).sum() for t in (1e-3, 1e-2, 0.1))),
      *varied("live", *(lambda h, t=t: h[:, h.mean(axis=0) >= t] for t in (1e-3, 1e-2, 0.1))))
wrong("zeros-counted", "{what} counts zeros, not units that are 0 for every example.",
      {"dead": lambda h: (h == 0).sum()})
wrong("examples-left-out", "Examples for which no unit is active are left out. They count: "
      "leave out dead UNITS only.", {"live": lambda h: living(h[h.any(axis=1)])})
wrong("order", "The order is n_dead, share_active, mean_activation.",
      *(lambda h, i=i: tuple(activity.right(h)[k] for k in i) for i in ((1, 2, 0), (0, 2, 1))),
      lambda h: (activity.right(h)[1], activity.right(h)[0], activity.right(h)[2]))
wrong("examples-for-units", "{what} looks for examples without activity. A unit is a column: "
      "any(axis=0) goes over examples.",
      *varied("dead", lambda h: (~h.any(axis=1)).sum(), lambda h: (h == 0).any(axis=1).sum()))
# fmt: on


def off_diagonal(r):
    return r[~np.eye(len(r), dtype=bool)]


def n_pairs(r):
    return len(r) * (len(r) - 1)


def correlated(h):
    return np.corrcoef(h, rowvar=False)


@exercise(
    returns=Number("The mean correlation"),
    cases=unit_cases,
    otherwise="Leave out the dead units, correlate the others, and take the mean of |r| off the "
    "diagonal.",
    done="|r| of different units, dead ones left out.",
)
def mean_correlation(H, *, live=living, matrix=correlated, size=np.abs,
                     mean=lambda r: off_diagonal(r).mean()):  # fmt: skip
    """Mean strength of the correlation between two live units."""
    return mean(size(matrix(live(H))))


def all_ways(*matrices):
    """Means of matrices with and without the diagonal, signs, dead units."""
    return [
        lambda h, of=of, mean=mean, size=size, live=live: mean(size(of(live(h))))
        for of in matrices
        for mean in (np.mean, lambda r: off_diagonal(r).mean())
        for size in (np.abs, np.asarray)
        for live in (living, np.asarray)
    ]


# fmt: off
wrong = mean_correlation.wrong
wrong("dead-give-nan", "With dead units, whose standard deviation is 0 and whose correlation is "
      "0/0, the mean is NaN. Leave these units out before you correlate the others.",
      {"live": np.asarray})
wrong("dead-uncorrelated", "Pairs with dead units count as uncorrelated. The more units die, the "
      "less correlated a layer would seem. Leave them out of the pairs as well.",
      lambda h: mean_correlation.right(h) * n_pairs(living(h).T) / n_pairs(h.T),
      lambda h: (np.nansum(np.abs(correlated(h))) - h.shape[1]) / n_pairs(h.T),
      {"live": np.asarray, "matrix": lambda h: np.nan_to_num(correlated(h)), "size": np.asarray})
wrong("dead-correlated", "Pairs with dead units count as correlated. A dead unit has no "
      "correlation: leave it out.",
      {"live": np.asarray, "matrix": lambda h: np.nan_to_num(correlated(h), nan=1)})
wrong("rarely-active-left-out", "Units that are silent for many examples are left out. Dead units "
      "are 0 for EVERY example.",
      *varied("live", lambda h: h[:, (h > 0).all(axis=0)], lambda h: h[:, h.mean(axis=0) > 0.01]),
      *varied("live", lambda h: h[:, (h > 0).mean(axis=0) > 0.2]))
wrong("examples-left-out", "Examples for which no unit is active are left out. They count: "
      "leave out dead UNITS only.", {"live": lambda h: living(h[h.any(axis=1)])})
wrong("diagonal", "The diagonal is counted. There each unit is compared with itself, which gives 1 "
      "whatever the units do: take pairs of different units.",
      *varied("mean", np.mean, lambda r: 2 * np.triu(r).sum() / n_pairs(r)),
      {"mean": lambda r: r.sum() / n_pairs(r)})
wrong("signs-cancel", "Signs cancel: pairs with r = 1 and r = -1 would average to 0, though both "
      "repeat each other. Take the absolute value of each r, then the mean.",
      *varied("size", np.asarray, lambda r: np.maximum(r, 0)),
      {"size": np.asarray, "mean": lambda r: abs(off_diagonal(r).mean())})
wrong("examples-for-units", "Examples are correlated with one another. Here a unit is a column: "
      "np.corrcoef(H, rowvar=False), or of H.T.", *all_ways(np.corrcoef))
wrong("covariances", "These are covariances: they grow with the size of the activations. Divide by "
      "both standard deviations, as np.corrcoef does.",
      *all_ways(*(lambda h, ddof=ddof: np.cov(h, rowvar=False, ddof=ddof) for ddof in (0, 1))))
wrong("cosines", "These are cosines between columns, without the mean taken off. Activations after "
      "a ReLU are never negative, so all would seem alike: subtract each unit's mean.",
      *all_ways(lambda h: h.T @ h / np.outer(*[np.linalg.norm(h, axis=0)] * 2)))
wrong("ranks", "These are correlations of ranks. Take those of the activations themselves.",
      {"matrix": lambda h: correlated(stats.rankdata(h, axis=0))})
wrong("squared", "The correlations are squared. Take their absolute values, and no root.",
      {"size": np.square}, {"mean": lambda r: np.sqrt(np.square(off_diagonal(r)).mean())})
wrong("diagonal-in-count", "The diagonal is left out of the sum but counted in the number of "
      "pairs: of k * k entries only k * (k - 1) are off it.",
      {"mean": lambda r: off_diagonal(r).sum() / r.size})
wrong("half-the-pairs", "Each pair stands twice in the matrix, and once above its diagonal: sum "
      "and count either all of k * (k - 1) entries, or half of them.",
      *varied("mean", lambda r: off_diagonal(r).mean() / 2, lambda r: off_diagonal(r).mean() * 2),
      *varied("mean", lambda r: np.triu(r, 1).mean(), lambda r: np.triu(r).mean()))
wrong("sum", "This is a sum. Divide by the number of pairs.",
      *varied("mean", *(lambda r, of=of: off_diagonal(r).sum() / of(r) for of in (
         lambda r: 1, lambda r: 2, len, lambda r: len(r) - 1))))
wrong("twins-left-out", "Pairs with a correlation of 1 are left out, as if they were on the "
      "diagonal. Two units that repeat each other are what this is to find: leave out i = j, not r "
      "= 1.", {"mean": lambda r: r[r < 1 - 1e-9].mean()})
wrong("another-summary", "This is the strongest correlation, the median, or that of some pairs. "
      "Take the mean of all.",
      *varied("mean", lambda r: off_diagonal(r).max(), lambda r: np.median(off_diagonal(r))),
      *varied("mean", lambda r: np.diag(r, 1).mean(), lambda r: r[0, 1:].mean()))
# fmt: on


# What masks on the inputs cost


def penalty_cases(data):
    def case(n, n_inputs, keep_prob):
        x = data.normal(0.7, 1, (n, n_inputs)) * data.uniform(0.5, 3, n_inputs)
        return {"X": x, "w": data.normal(size=n_inputs), "keep_prob": keep_prob}

    first, other = case(5, 3, 0.81), case(5, 3, 0.37)
    return [
        *(first, *(first | {name: other[name]} for name in first)),
        *(case(4, 6, 0.37), case(7, 2, 0.5), case(3, 4, 1.0), case(1, 1, 0.6)),
    ]


def squares(x, w):
    return np.square(w) @ np.square(x).sum(axis=0)


@exercise(
    returns=Number("The penalty"),
    cases=penalty_cases,
    otherwise="Averaged over all masks, the summed squared loss is larger by the variances of the "
    "predictions: the variance of the mask, times a sum of squares. No mask need be drawn.",
    done="what all masks add to the loss, on average.",
)
def dropout_penalty(X, w, keep_prob, *, of=variance, base=squares, scale=lambda x: 1):
    """What inverted dropout on the inputs adds to the squared loss."""
    return of(keep_prob) * base(X, w) * scale(X)


# fmt: off
wrong = dropout_penalty.wrong
wrong("no-data", "The inputs do not appear: this is a penalty on |w|^2, as noise that is ADDED to "
      "the inputs gives. A mask multiplies: each w_i^2 counts sum_n x_ni^2 times.",
      *varied("base", lambda x, w: w @ w, lambda x, w: np.abs(w).sum(), lambda x, w: w.sum()))
wrong("no-weights", "The weights do not appear. Noise on an input matters as much as its weight is "
      "large: each sum_n x_ni^2 counts w_i^2 times.",
      *varied("base", lambda x, w: np.square(x).sum(), lambda x, w: np.abs(x).sum()))
wrong("weights-not-squared", "The weights are not squared. The penalty is a variance: it takes the "
      "squares of weights and inputs.",
      *varied("base", *(lambda x, w, f=f: f(w) @ (x**2).sum(axis=0) for f in (abs, np.asarray))))
wrong("inputs-not-squared", "The inputs are not squared. The penalty is a variance: it takes the "
      "squares of weights and inputs.",
      *varied("base", *(lambda x, w, f=f: w**2 @ f(x).sum(axis=0) for f in (abs, np.asarray))))
wrong("nothing-squared", "Weights and inputs are not squared. The penalty is a variance: it takes "
      "their squares.",
      *varied("base", lambda x, w: np.abs(x * w).sum(), lambda x, w: (x * w).sum()),
      *varied("base", lambda x, w: np.abs(x @ w).sum()))
wrong("summed-then-squared", "The inputs are summed, then squared. Each example has masks of its "
      "own, so their variances add up: square first, then sum.",
      {"base": lambda x, w: w**2 @ x.sum(axis=0) ** 2})
wrong("second-moment", "This is the mean square of the masked output, X w included. The penalty is "
      "its variance alone: without the square of the mean, and so without cross terms.",
      lambda x, w, keep_prob: np.square(x @ w).sum() + dropout_penalty.right(x, w, keep_prob))
wrong("cross-terms", "There are cross terms: you square the whole sum over i. The masks of two "
      "inputs are independent, so their variances add up without cross terms: square each w_i "
      "x_ni, then sum.",
      *varied("base", lambda x, w: np.square(x @ w).sum(), lambda x, w: np.square((x @ w).sum())))
wrong("summed-apart", "The squared weights and the squared inputs are summed apart, then "
      "multiplied. Each w_i^2 belongs to its own input: multiply first, then sum over i.",
      *varied("base", lambda x, w: (w @ w) * np.square(x).sum()))
wrong("centred", "The inputs are centred. A mask multiplies the input as it is: take sum_n x_ni^2, "
      "not squares about the mean.",
      *varied("base", lambda x, w: squares(x - x.mean(axis=0), w), lambda x, w: (x @ w).var()),
      *varied("base", lambda x, w: w**2 @ x.var(axis=0, ddof=1)))
wrong("root", "A root is taken of the sums of squares; none belongs there.",
      *varied("base", lambda x, w: w**2 @ np.linalg.norm(x, axis=0)),
      *varied("base", lambda x, w: np.sqrt(squares(x, w))))
wrong("fourth-powers", "Something is squared twice. Take the squares of weights and inputs, once.",
      *varied("base", lambda x, w: squares(x, w**2), lambda x, w: squares(x**2, w)),
      *varied("base", lambda x, w: w**2 @ np.square(x).sum(axis=0) ** 2),
      *varied("base", lambda x, w: squares(x**2, w**2), lambda x, w: squares(x, w) ** 2))
FACTORS = (
    *VARIANCES,
    ("squared-once-more", "((1 - keep_prob) / keep_prob)^2", lambda p: variance(p) ** 2,
     "squared once too often: (1 - keep_prob) / keep_prob is a variance already."),
    ("square-of-mask", "1 / keep_prob^2 - 1", lambda p: p**-2.0 - 1,
     "but a mask of 1/keep_prob is drawn with probability keep_prob only: its mean square is "
     "1 / keep_prob, and its variance (1 - keep_prob) / keep_prob."),
    ("keep-prob-alone", "keep_prob", lambda p: p,
     "but with keep_prob=1 there is no noise. The variance of the mask belongs there, "
     "(1 - keep_prob) / keep_prob."),
)
for idea, formula, factor_of, why in FACTORS:
    dropout_penalty.wrong(
        idea, f"The factor is {formula}, {why}",
        *varied("of", factor_of, lambda p, of=factor_of: of(p) if p < 1 else 0.0))
wrong("mean-over-examples", "The loss is a sum over the examples, not a mean: so is the penalty. "
      "Yours is divided by the number of examples, or of all entries.",
      *varied("scale", lambda x: 1 / len(x), lambda x: 1 / x.size, lambda x: len(x) ** -2))
wrong("mean-over-inputs", "Sum over the inputs; yours is a mean over them.",
      {"scale": lambda x: 1 / x.shape[1]})
wrong("sum-taken-twice", "Yours is as many times too large as there are examples: the sum over n "
      "is in it twice.", {"scale": len})
wrong("halved", "Yours is half of it. The loss of this exercise has no factor 1/2.",
      {"scale": lambda x: 1 / 2})
wrong("doubled", "Yours is twice as large. The masks' variance comes without a factor 2.",
      {"scale": lambda x: 2})
wrong("sign", "The sign is turned: noise on the inputs makes the loss larger.",
      {"scale": lambda x: -1})
# fmt: on


# Dropout by ridge regression


def ridge_cases(data):
    def case(n, n_inputs, keep_prob, *silent):
        x = data.normal(0.8, 1, (n, n_inputs)) * np.array([0.4, 3.0, 1.0, 6.0])[:n_inputs]
        y = 2 + x @ data.uniform(0.5, 2, n_inputs) + data.normal(size=n)
        x[:, silent] = 0
        return {"X": x, "y": y, "keep_prob": keep_prob}

    first, other = case(40, 4, 0.7), case(40, 4, 0.4)
    return [
        *(first, *(first | {name: other[name]} for name in first)),
        *(case(25, 3, 0.4), case(8, 2, 0.9), case(30, 4, 0.7, 1), case(20, 4, 0.25, 0, 2)),
    ]


def norms(x):
    return np.linalg.norm(x, axis=0)


def ridge(z, y, alpha):
    return np.linalg.pinv(z.T @ z + alpha * np.eye(z.shape[1])) @ z.T @ y


@exercise(
    returns=Array("The array of weights", lambda X: X.shape[1:], "There is one for each column."),
    cases=ridge_cases,
    rtol=1e-3,
    otherwise="Which u = s * w makes the penalty a plain |u|^2? Divide a column that is all 0 by 1 "
    "instead: its weight comes out 0.",
    done="the weights that dropout on the inputs asks for.",
)
def dropout_by_ridge(X, y, keep_prob, *, lengths=norms, of=variance, times=lambda n: 1,
                     undo=lambda u, s, p: u / s, intercept=False, guard=1):  # fmt: skip
    """Weights of least loss under dropout, by ridge on scaled columns."""
    s = lengths(X)
    s = np.where(s > 0, s, guard)
    z = X / s
    if intercept:
        z, y = z - z.mean(axis=0), y - y.mean()
    return undo(ridge(z, y, of(keep_prob) * times(len(X))), s, keep_prob)


# fmt: off
wrong = dropout_by_ridge.wrong
wrong("columns-as-they-are", "This is ridge regression on the columns as they are: each weight "
      "pays the same. Under dropout w_i^2 costs sum_n x_ni^2: scale the columns so that all of "
      "these are 1.", {"lengths": lambda x: np.ones(x.shape[1])})
wrong("standard-deviation", "The columns are divided by their standard deviation, which takes "
      "squares about the mean. A mask multiplies the input as it is, mean included: divide by the "
      "root of the sum of squares.",
      *varied("lengths", lambda x: x.std(axis=0), lambda x: x.std(axis=0, ddof=1)),
      *varied("lengths", lambda x: norms(x - x.mean(axis=0)), lambda x: x.var(axis=0)))
wrong("sum-of-squares", "The columns are divided by their sum of squares, or its mean. The penalty "
      "is sum_i (s_i w_i)^2, so s_i is the ROOT of that sum.",
      *varied("lengths", lambda x: norms(x) ** 2, lambda x: np.square(x).mean(axis=0)))
wrong("root-taken-twice", "The root is taken twice. Divide by the root of the sum of squares, and "
      "by no root of that.", {"lengths": lambda x: np.sqrt(norms(x))})
wrong("multiplied", "The columns are multiplied by their norms. Divide: a large column must come "
      "out with norm 1, for its weight to cost what the others cost.",
      {"lengths": lambda x: 1 / np.where(norms(x) > 0, norms(x), 1)})
wrong("other-lengths", "The columns are divided by sums of absolute values, largest entries, or "
      "means. The penalty is a sum of squares: divide by the root of that sum.",
      *varied("lengths", lambda x: np.abs(x).sum(axis=0), lambda x: np.abs(x).max(axis=0)),
      *varied("lengths", lambda x: np.abs(x).mean(axis=0), lambda x: np.ptp(x, axis=0)),
      *varied("lengths", lambda x: np.abs(x.mean(axis=0)), lambda x: x.max(axis=0)))
wrong("one-norm-for-all", "All columns are divided by one number, the norm of the whole of X, so "
      "they keep their different lengths. Each column has a norm of its own: sum over axis=0.",
      {"lengths": lambda x: np.full(x.shape[1], np.linalg.norm(x))})
wrong("rows", "The rows are divided by their norms: each example comes out with length 1. It is "
      "the columns, the inputs, that must: sum over axis=0.",
      lambda x, y, p: ridge(x / np.linalg.norm(x, axis=1, keepdims=True), y, variance(p)))
for idea, formula, factor_of, why in FACTORS:
    dropout_by_ridge.wrong(idea, f"alpha is {formula}, {why}", {"of": factor_of})
wrong("too-small", "The penalty is as many times too small as there are examples. Ridge adds alpha "
      "|u|^2 to the SUM of squares: alpha needs no factor 1/n, and s_i is the root of the sum of "
      "squares of a column, not of their mean.", {"times": lambda n: 1 / n},
      {"lengths": lambda x: norms(x) / math.sqrt(len(x))})
wrong("too-large", "The penalty is as many times too large as there are examples. Ridge adds alpha "
      "|u|^2 to the SUM of squares: alpha needs no factor n.", {"times": lambda n: n})
wrong("half-or-twice", "alpha is half of what it must be, or twice. Neither the loss nor Ridge has "
      "a factor 1/2.", *varied("times", lambda n: 0.5, lambda n: 2))
wrong("no-penalty", "There is no penalty: these are the weights of ordinary least squares.",
      {"of": lambda p: 0.0})
wrong("not-undone", "These are the weights of the scaled columns. If column i was divided by s_i, "
      "its weight came out s_i times too large for X itself: undo the scaling.",
      {"undo": lambda u, s, p: u})
wrong("undone-the-wrong-way", "The scaling is undone the wrong way: X w and (X / s) u agree for w "
      "= u / s.", *varied("undo", lambda u, s, p: u * s, lambda u, s, p: u / s**2))
wrong("weights-scaled", "The weights are divided by keep_prob, or multiplied by it, as for masks "
      "of 0 and 1. These masks are 0 and 1/keep_prob already.",
      *varied("undo", lambda u, s, p: u / s / p, lambda u, s, p: u / s * p))
wrong("intercept", "An intercept was fitted, or the data centred. Pass fit_intercept=False: the "
      "model is X w.", {"intercept": True},
      lambda x, y, p: dropout_by_ridge.right(x, y - y.mean(), p))
wrong("column-of-zeros", "Where a column of X is all 0, its norm is 0 and yours divides by it. "
      "Divide that column by 1 instead, and its weight comes out 0.", {"guard": 0})
wrong("weight-of-zeros", "Where a column of X is all 0, its weight must be 0: any other costs "
      "nothing and does nothing.",
      lambda x, y, p: np.where(norms(x) > 0, dropout_by_ridge.right(x, y, p), 1.0))
# fmt: on
