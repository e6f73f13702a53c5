"""Checks of the exercises on noise."""

import math
from itertools import islice

import numpy as np
from scipy import stats

from lib.checks.engine import Array, Number, exercise, found, summary_of, varied
from lib.checks.traits import RARE, SHARED, SIGMAS, VARIANCES, fresh, independent

summary = summary_of("noise")

FORMULA = "(1 - keep_prob) / keep_prob"


def variance(p):
    """That of the inverted mask."""
    return (1 - p) / p


# A mask without zeros

# fmt: off
MEANS = (  # what the mean is taken for
    ("noise-to-add", lambda p: 0.0, "The mask has mean 0: this is noise to add. A mask multiplies: "
     "it needs mean 1, so that an activation keeps its mean."),
    ("mean-keep-prob", lambda p: p, "The mask has mean keep_prob, as zeros and ones without a "
     "scale have. It needs mean 1, as the inverted mask has: then prediction needs no factor."),
    ("mean-inverse", lambda p: 1 / p, "The noise has mean 1/keep_prob: is something divided by "
     "keep_prob? N(1, ...) has mean 1 already."),
)
# fmt: on


def gaussian_traits(masks, keep_prob, axes):
    """Independent draws from N(1, (1 - keep_prob) / keep_prob)."""
    value = masks.flat[0]
    text = f"There is no noise: everything is multiplied by {value:.4g}."
    yield from found(np.allclose(masks, value), "no-noise", text)
    for axis, label in enumerate(axes):
        text = f"All {label}s share one draw of the noise. Each {label} needs a draw of its own."
        shared = np.allclose(masks, masks.take([0], axis))
        yield from found(shared, f"shared-by-{label}s", SHARED["call"] if axis == 0 else text)
    yield from repeated_values(masks)
    z = (masks - masks.mean()) / masks.std()
    yield from independent(z, axes, "noise", mean_removed=True)
    yield from moments(masks, keep_prob)


def repeated_values(masks):
    """Values that come again: something is dropped, clipped or rounded."""
    values, counts = np.unique(masks.round(5), return_counts=True)
    most, share = values[counts.argmax()], counts.max() / masks.size
    below = masks.size * stats.norm.cdf(0, masks.mean(), masks.std())  # should be below 0
    # fmt: off
    yield from found(len(values) == 2 and 0 in values, "bernoulli",
        "This is a Bernoulli mask: an entry is dropped, or not. A Gaussian mask takes its place, "
        "with the same mean and variance, but it varies continuously and drops nothing.")
    yield from found(below > 30 and not (masks < 0).any(), "no-negative-entries",
        "The mask has no negative entries. A Gaussian has them, and they belong: take what "
        "rng.normal gives, without clipping, absolute values, or drawing again.")
    yield from found(share > 0.005 or len(values) < 0.03 * masks.size, "repeated-values",
        f"{masks.size} entries have only {len(values)} different values, and {share:.1%} are "
        f"{most:.3g}. A Gaussian varies continuously and has no bounds: is something dropped, "
        "clipped or rounded?")
    # fmt: on


def moments(masks, keep_prob):
    """Mean and variance."""
    mean, var = masks.mean(), masks.var()
    reach, rough = SIGMAS * math.sqrt(var / masks.size), SIGMAS * math.sqrt(2 / masks.size)

    def near(value):
        return math.isclose(var, value, rel_tol=rough)

    if abs(mean - 1) > reach:
        for name, of, text in MEANS:
            yield from found(abs(mean - of(keep_prob)) < reach, name, text)
        text = f"The noise has the mean {mean:.3f}, with keep_prob={keep_prob}. It must be 1."
        yield from found(True, "mean", text)
    right = variance(keep_prob)
    if not near(right):
        for name, formula, of, why in VARIANCES:
            yield from found(near(of(keep_prob)), name, f"The variance is {formula}, {why}")
        for name, formula, of, _ in (("variance", FORMULA, variance, ""), *VARIANCES):
            text = (f"The standard deviation is {formula}. rng.normal takes the standard "
                    f"deviation; {FORMULA} is the variance, so pass its root.")  # fmt: skip
            yield from found(near(of(keep_prob) ** 2), f"{name}-as-deviation", text)
        text = (f"The variance of the noise is {var:.3f}; with keep_prob={keep_prob} it must be "
                f"{right:.3f}, that of the inverted dropout mask.")  # fmt: skip
        yield from found(True, "variance", text)


def noise_traits(draw, data, *settings):
    """What is off in ``draw(shape, keep_prob, rng)``: for each shape and keep_prob, and for 1."""
    z = []
    for shape, keep_prob, *axes in settings:
        masks = np.array([draw(shape=shape, keep_prob=keep_prob, rng=data) for _ in range(40)])
        yield from gaussian_traits(masks, keep_prob, ("call", *axes))
        z.append(((masks - 1) / math.sqrt(variance(keep_prob))).ravel())
    z = np.concatenate(z)
    far = math.sqrt(math.log(2 / RARE) / (2 * z.size))  # by chance once in 10^11
    off = (
        abs(stats.kurtosis(z)) > SIGMAS * math.sqrt(24 / z.size)
        or abs(stats.skew(z)) > SIGMAS * math.sqrt(6 / z.size)
        or stats.kstest(z, "norm").statistic > far
    )
    text = "Mean and variance are right, but the entries are not Gaussian. Draw them by rng.normal."
    yield from found(off, "not-gaussian", text)
    yield from fresh(lambda rng: draw(shape=(4, 50), keep_prob=0.8, rng=rng))
    ones = draw(shape=(4, 50), keep_prob=1.0, rng=data)
    text = "With keep_prob=1 the variance is 0: there is no noise, and the mask is all 1."
    yield from found(not np.allclose(ones, 1), "keep-prob-1", text)


MATRICES = ((100, 50), 0.75, "example", "unit"), ((30, 120), 0.3, "example", "unit")
CUBE = (12, 20, 15), 0.5, "row", "column", "layer"


@exercise(
    returns=Array("The mask", lambda shape: shape, "It has the shape that is asked for."),
    traits=lambda run, data: islice(noise_traits(run, data, *MATRICES, CUBE), 1),
    done="mean 1, variance (1 - keep_prob)/keep_prob, fresh.",
)
def gaussian_mask(shape, keep_prob, rng):
    """Gaussian noise with mean and variance of the inverted mask."""
    return rng.normal(1, math.sqrt(variance(keep_prob)), shape)


# Gaussian dropout


def phase_traits(run, x):
    """The identity at prediction; in training what multiplies x knows nothing of it."""
    given, rng = {"x": x, "keep_prob": 0.75}, np.random.default_rng(2)
    test, again = (run(phase="test", rng=rng, **given) for _ in range(2))
    train = np.mean([run(phase="train", rng=rng, **given) for _ in range(40)], axis=0)
    noisy, loud = not np.array_equal(test, again), x != 0
    noise, known = train[loud] / x[loud], x[loud]
    apart = [noise[some].mean() - noise[~some].mean() for some in (known < 0, np.abs(known) < 1)]
    # fmt: off
    yield from found(noisy and np.allclose(train, x), "phases-swapped",
        "The two phases are swapped: there is noise at prediction, and none in training.")
    yield from found(noisy, "noise-at-prediction",
        "The noise is still on at prediction. There x is returned as it is, and the same input "
        "always gives the same output.")
    yield from found(not np.allclose(test, x), "not-the-identity",
        "At prediction the output is not x. The mask has mean 1, so activations are as large in "
        "training as at prediction: no factor is needed in either.")
    yield from found(train[~loud].any(), "added",
        "A unit that says 0 says something else in training, so noise is added to it. Dropout "
        "multiplies, x * mask: what is 0 stays 0, and large activations get large noise.")
    yield from found(np.abs(apart).max() > 0.2, "depends-on-x",
        "By what x is multiplied depends on x. Return x * mask, without an absolute value, a "
        "square, or a clip at 0.")
    # fmt: on


def dropout_traits(run, data):
    x = data.uniform(0.5, 2.0, (100, 52)) * data.choice([-1, 1, 1, 1], (100, 52))
    yield from phase_traits(run, np.insert(x, 50, 0, axis=1))

    def draw(shape, keep_prob, rng):
        inputs = np.resize(x, shape)
        return run(x=inputs, keep_prob=keep_prob, phase="train", rng=rng) / inputs

    yield from noise_traits(draw, data, *MATRICES)


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


NOT_DEAD = "Units that are 0 for some examples are taken for dead. Dead units are 0 for EVERY one."


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
wrong("dead-counted-in", "{what} is taken over all units: leave the dead out, or more deaths "
      "would look like a sparser code.", {"live": np.asarray})
wrong("mean-of-active", "{what} is taken over the active entries only. The zeros of a live unit "
      "count as well.", {"mean": lambda h: h[h > 0].mean()})
wrong("every-live-unit", "{what} counts zeros as active, or units that are so for some example. "
      "Count the entries above 0.", {"share": lambda h: h.any(axis=0).mean()})
wrong("count-for-share", "{what} is a count, or in percent: return a share from 0 to 1.",
      *varied("share", *(lambda h, by=by: by(h > 0) for by in (
          np.sum, lambda on: on.sum(axis=1).mean(), lambda on: 100 * on.mean()))))
wrong("other-average", "{what} is a sum, or a median. Take the mean of all entries of live units.",
      *varied("mean", np.sum, np.median, *(lambda h, i=i: h.sum(axis=i).mean() for i in (0, 1))))
wrong("dead-for-one-example", NOT_DEAD, {"dead": lambda h: (h == 0).any(axis=0).sum()},
      {"live": lambda h: h[:, h.all(axis=0)]})
wrong("examples-for-units", "{what} looks for examples without activity. A unit is a column: "
      "any(axis=0) goes over examples.", {"dead": lambda h: (~h.any(axis=1)).sum()})
wrong("order", "The order is n_dead, share_active, mean_activation.",
      *(lambda h, i=i: [activity.right(h)[k] for k in i] for i in ((1, 2, 0), (0, 2, 1))))
# fmt: on


def off_diagonal(r):
    return r[~np.eye(len(r), dtype=bool)]


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


# fmt: off
wrong = mean_correlation.wrong
wrong("dead-give-nan", "Dead units are not left out. Their standard deviation is 0, and their "
      "correlation 0/0: take the other columns only.", {"live": np.asarray})
wrong("dead-uncorrelated", "Pairs with dead units count as uncorrelated, so a layer would seem "
      "less correlated the more units die: leave them out.",
      {"live": np.asarray, "matrix": lambda h: np.nan_to_num(correlated(h))})
wrong("rarely-active-left-out", NOT_DEAD, {"live": lambda h: h[:, h.all(axis=0)]})
wrong("diagonal", "The diagonal is counted, where each unit is compared with itself. Take pairs "
      "of different units.",
      *varied("mean", np.mean, lambda r: r.sum() / off_diagonal(r).size))
wrong("signs-cancel", "Signs cancel: r = 1 and r = -1 average to 0, though both pairs repeat each "
      "other. Take the absolute value of each r, then the mean.",
      {"size": np.asarray}, {"size": np.asarray, "mean": lambda r: abs(off_diagonal(r).mean())})
wrong("examples-for-units", "Examples are correlated with one another. Here a unit is a column: "
      "np.corrcoef(H, rowvar=False), or of H.T.",
      *varied("matrix", np.corrcoef, lambda h: np.nan_to_num(np.corrcoef(h))))
wrong("covariances", "These are covariances. Divide by both standard deviations, as np.corrcoef "
      "does: else they grow with the activations.",
      *varied("matrix", lambda h: np.cov(h.T), lambda h: np.cov(h.T, ddof=0)))
wrong("cosines", "These are cosines between columns, without the mean taken off. Activations after "
      "a ReLU are never negative, so all would seem alike: subtract each unit's mean.",
      {"matrix": lambda h: h.T @ h / np.outer(*[np.linalg.norm(h, axis=0)] * 2)})
wrong("squared", "The correlations are squared. Take their absolute values.", {"size": np.square})
wrong("number-of-pairs", "The sum is not divided by the number of its terms: a matrix has k * (k "
      "- 1) entries off the diagonal, and half as many above it.",
      *varied("mean", lambda r: off_diagonal(r).sum(), lambda r: off_diagonal(r).sum() / r.size,
              lambda r: np.triu(r, 1).sum(), lambda r: np.triu(r, 1).mean(),
              *(lambda r, by=by: by * off_diagonal(r).mean() for by in (0.5, 2))))
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
def dropout_penalty(X, w, keep_prob, *, of=variance, base=squares):
    """What inverted dropout on the inputs adds to the squared loss."""
    return of(keep_prob) * base(X, w)


# fmt: off
wrong = dropout_penalty.wrong
wrong("no-data", "This is a penalty on |w|^2, as noise that is ADDED to the inputs gives. A mask "
      "multiplies: each w_i^2 counts sum_n x_ni^2 times.", {"base": lambda x, w: w @ w})
wrong("not-squared", "Weights or inputs are not squared. The penalty is a variance: it takes the "
      "squares of both.",
      *varied("base", *(lambda x, w, f=f: f(w) @ (x**2).sum(axis=0) for f in (abs, np.asarray)),
              *(lambda x, w, f=f: w**2 @ f(x).sum(axis=0) for f in (abs, np.asarray)),
              lambda x, w: np.abs(x * w).sum()))
wrong("summed-then-squared", "The inputs are summed, then squared. Each example has masks of its "
      "own: square first, then sum.", {"base": lambda x, w: w**2 @ x.sum(axis=0) ** 2})
wrong("cross-terms", "There are cross terms: you square a sum over i. The masks of two inputs are "
      "independent: square each w_i x_ni, then sum.", {"base": lambda x, w: ((x @ w) ** 2).sum()})
wrong("centred", "The inputs are centred. A mask multiplies the input as it is: take sum_n x_ni^2, "
      "not squares about the mean.", {"base": lambda x, w: squares(x - x.mean(axis=0), w)})
wrong("mean-for-sum", "The penalty is a sum over examples and inputs, as the loss is a sum. Yours "
      "is a mean.",
      *varied("base", *(lambda x, w, n=n: squares(x, w) / n(x) for n in (len, np.size)),
              lambda x, w: squares(x, w) / len(w)))
for idea, formula, factor, why in VARIANCES:
    wrong(idea, f"The factor is {formula}, {why}",
          *varied("of", factor, lambda p, factor=factor: factor(p) if p < 1 else 0.0))
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
                     undo=lambda u, s: u / s, centre=0, guard=1):  # fmt: skip
    """Weights of least loss under dropout, by ridge on scaled columns."""
    s = lengths(X)
    s = np.where(s > 0, s, guard)
    z, y = (each - centre * each.mean(axis=0) for each in (X / s, y))
    return undo(ridge(z, y, of(keep_prob) * times(len(X))), s)


# fmt: off
wrong = dropout_by_ridge.wrong
wrong("columns-as-they-are", "This is ridge on the columns as they are. Under dropout w_i^2 costs "
      "sum_n x_ni^2: scale the columns so that all of these are 1.",
      {"lengths": lambda x: np.ones(x.shape[1])})
wrong("standard-deviation", "The columns are divided by their standard deviations, which are about "
      "the mean. A mask multiplies the input as it is: divide by the root of the sum of squares.",
      *varied("lengths", lambda x: x.std(axis=0), lambda x: norms(x - x.mean(axis=0))))
wrong("other-lengths", "The columns are divided by sums or means of squares or absolute values, or "
      "by largest entries. The penalty is sum_i (s_i w_i)^2: s_i is the ROOT of a sum of squares.",
      *varied("lengths", lambda x: norms(x) ** 2, lambda x: (x**2).mean(axis=0),
              lambda x: np.abs(x).sum(axis=0), lambda x: np.abs(x).max(axis=0)))
wrong("multiplied", "The columns are multiplied by their norms. Divide: all must come out with "
      "norm 1.", {"lengths": lambda x: 1 / np.where(norms(x) > 0, norms(x), 1)})
wrong("rows", "The norms are those of the rows, or of the whole of X. Each column has a norm of "
      "its own, by which it is divided: sum over axis=0.",
      {"lengths": lambda x: np.full(x.shape[1], np.linalg.norm(x))},
      lambda x, y, p: ridge(x / np.linalg.norm(x, axis=1, keepdims=True), y, variance(p)))
for idea, formula, factor, why in VARIANCES:
    wrong(idea, f"alpha is {formula}, {why}", {"of": factor})
wrong("off-by-a-factor", "The penalty is off by a factor: 2, or the number of examples. Ridge adds "
      "alpha |u|^2 to the SUM of squares: alpha needs no further factor, and s_i is the root of "
      "the sum of squares of a column, not of their mean.",
      *varied("times", lambda n: 1 / n, lambda n: n, lambda n: 0.5, lambda n: 2))
wrong("not-undone", "The scaling of the columns is not undone, or the wrong way: X w and (X / s) u "
      "agree for w = u / s.", *varied("undo", lambda u, s: u, lambda u, s: u * s))
wrong("intercept", "An intercept was fitted, or the data centred. Pass fit_intercept=False: the "
      "model is X w.", {"centre": 1})
wrong("column-of-zeros", "Where a column of X is all 0, its norm is 0 and yours divides by it. "
      "Divide that column by 1 instead, and its weight comes out 0.", {"guard": 0})
# fmt: on
