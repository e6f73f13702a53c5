"""Checks of the exercises on noise."""

import itertools
import math
import numbers
import warnings

import numpy as np
from scipy import stats

from lib.checks.common import (
    SIGMAS,
    VARIANCES,
    as_array,
    as_number,
    call,
    check_fresh,
    check_unknown_phase,
    expect,
    factor,
)
from lib.masks import all_masks, mask_probabilities
from lib.representation import correlations
from lib.theory.noise import dropout_ridge

TO_ADD = (
    "The mask has mean 0: this is noise to add. A mask multiplies: it needs mean 1, so that an "
    "activation keeps its mean."
)
UNSCALED = (
    "The mask has mean keep_prob, as zeros and ones without a scale have. It needs mean 1, as the "
    "inverted mask has: then prediction needs no factor."
)
DIVIDED = (
    "The noise has mean 1/keep_prob: is something divided by keep_prob? N(1, ...) has mean 1 "
    "already, so there is nothing to make up for."
)


def _variance(p):
    return (1 - p) / p


def gaussian_mask(student):
    """Check a function that draws a Gaussian mask.

    Parameters
    ----------
    student : callable
        ``gaussian_mask(shape, keep_prob, rng)``, of mean 1 and variance (1 - keep_prob)/keep_prob.

    Raises
    ------
    AssertionError
        Naming what is wrong: the variance, a variance passed as standard deviation, the mean,
        zeros, no negative entries, a shared mask, or one that does not come fresh from `rng`.
    """
    __tracebackhide__ = True
    shape = (400, 50)

    def draw(rng, keep_prob=0.8, shape=shape):
        __tracebackhide__ = True
        mask = call(student, shape=shape, keep_prob=keep_prob, rng=rng)
        return as_array(mask, shape, "The mask", "It has the shape that is asked for.")

    for keep_prob in (0.8, 0.3):
        _check_noise(draw(np.random.default_rng(0), keep_prob), keep_prob)
    check_fresh(draw)
    expect(
        np.allclose(draw(np.random.default_rng(0), 1.0), 1),
        "With keep_prob=1 the variance is 0, and the mask is all 1.",
    )
    draw(np.random.default_rng(0), shape=(2, 3, 4))
    print("gaussian_mask: mean 1, variance (1 - keep_prob)/keep_prob, fresh.")


def _check_noise(mask, keep_prob):
    """Whether these are independent draws from N(1, (1 - keep_prob) / keep_prob)."""
    __tracebackhide__ = True
    expect(
        not np.allclose(mask, mask.flat[0]),
        f"There is no noise: everything is multiplied by {mask.flat[0]:.4g}.",
    )
    expect(
        not np.allclose(mask, mask[0]),
        "One mask for the whole batch: every example gets the same noise. "
        "Draw a number for each example and each unit.",
    )
    expect(
        not np.allclose(mask, mask[:, :1]),
        "In each example all units get the same noise. "
        "Draw a number for each example and each unit.",
    )
    _check_no_value_repeats(mask, keep_prob)
    expected = mask.size * stats.norm.cdf(0, mask.mean(), mask.std())
    expect(
        (mask < 0).any() or expected < 30,
        "The mask has no negative entries. A Gaussian has them, and they belong: without them "
        "the mean or the variance is off. Take what rng.normal gives: no absolute values, no "
        "drawing again.",
    )
    _check_moments(mask, keep_prob)
    distance = stats.kstest(mask.ravel(), "norm", (1, math.sqrt(_variance(keep_prob)))).statistic
    expect(
        distance < math.sqrt(math.log(2e10) / (2 * mask.size)),  # by chance once in 10^10
        "Mean and variance are right, but the entries are not Gaussian. Draw them with rng.normal.",
    )


def _check_no_value_repeats(mask, keep_prob):
    """Whether the values are continuous: nothing dropped, nothing clipped."""
    __tracebackhide__ = True
    values, counts = np.unique(mask.round(5), return_counts=True)
    most, share = values[counts.argmax()], counts.max() / mask.size
    if len(values) <= 2 and 0 in values:
        raise AssertionError(
            "This is a Bernoulli mask: an entry is dropped, or not. A Gaussian mask takes its "
            "place, with the same mean and variance, but it varies continuously and drops nothing."
        )
    expect(
        len(values) > 20,
        f"The mask takes {len(values)} different values only. A Gaussian varies continuously: "
        "is something rounded?",
    )
    expect(
        share < 0.01 or most != 0 or (mask < 0).any(),
        "Negative entries were set to 0. They belong to a Gaussian mask: without them its mean "
        "is above 1 and its variance too small. A unit may come out with its sign turned.",
    )
    expect(
        share < 0.01 or most != 0,
        f"{share:.0%} of the entries are 0. A Gaussian mask drops nothing, it takes the place of "
        "the Bernoulli mask. Are there zeros and ones as well, or is the product clipped?",
    )
    expect(
        share < 0.01,
        f"{share:.0%} of the entries are {most:.3g} exactly: is the mask clipped there? A "
        "Gaussian has no bounds, and clipping changes its variance.",
    )


def _check_moments(mask, keep_prob):
    __tracebackhide__ = True
    mean, variance = mask.mean(), mask.var()
    reach = SIGMAS * math.sqrt(variance / mask.size)
    for wrong, message in ((0, TO_ADD), (keep_prob, UNSCALED), (1 / keep_prob, DIVIDED)):
        expect(abs(mean - wrong) > reach, message)
    expect(
        abs(mean - 1) < reach,
        f"The noise has the mean {mean:.3f}, with keep_prob={keep_prob}. It must be 1.",
    )
    rough = SIGMAS * math.sqrt(2 / mask.size)  # relative, of the variance of Gaussian draws
    right = _variance(keep_prob)
    if math.isclose(variance, right, rel_tol=rough):
        return
    name = "(1 - keep_prob) / keep_prob"
    for formula, (wrong, message) in {name: (_variance, ""), **VARIANCES}.items():
        expect(
            formula == name or not math.isclose(variance, wrong(keep_prob), rel_tol=rough),
            f"The variance is {formula}, {message}",
        )
        expect(
            formula == "1" or not math.isclose(variance, wrong(keep_prob) ** 2, rel_tol=rough),
            f"The standard deviation is {formula}. rng.normal takes the standard deviation; "
            f"{name} is the variance, so pass its root.",
        )
    raise AssertionError(
        f"The variance of the noise is {variance:.3f}; with keep_prob={keep_prob} it must be "
        f"{right:.3f}, that of the inverted dropout mask."
    )


def gaussian_dropout(student):
    """Check Gaussian dropout in two phases.

    Parameters
    ----------
    student : callable
        ``gaussian_dropout(x, keep_prob, phase, rng)``.

    Raises
    ------
    AssertionError
        Naming what is wrong: noise added, noise at prediction, a factor that is not needed, the
        noise itself, or an unknown phase let through.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(5)
    x = data.uniform(0.5, 2.0, size=(400, 50)) * data.choice([-1, 1, 1, 1], size=(400, 50))
    x[:, -5:] = 0  # units that are silent
    keep_prob = 0.8

    def run(phase, rng, keep_prob=keep_prob):
        __tracebackhide__ = True
        y = call(student, x=x, keep_prob=keep_prob, phase=phase, rng=rng)
        return as_array(y, x.shape, "The output", "It has the shape of x.")

    rng = np.random.default_rng(2)
    train, test, again = run("train", rng), run("test", rng), run("test", rng)
    _check_prediction(x, train, test, again, keep_prob)
    expect(
        not train[:, -5:].any(),
        "A unit that says 0 says something else in training, so noise is added to it. Dropout "
        "multiplies, x * mask: what is 0 stays 0, and large activations get large noise.",
    )
    _check_noise(train[:, :-5] / x[:, :-5], keep_prob)
    check_fresh(lambda rng: run("train", rng))
    expect(
        np.allclose(run("train", np.random.default_rng(0), 1.0), x),
        "With keep_prob=1 there is no noise, and training returns x as it is.",
    )
    check_unknown_phase(student, x, keep_prob, "predict", np.random.default_rng(0))
    print("gaussian_dropout: multiplied in training, the identity at prediction.")


def _check_prediction(x, train, test, again, keep_prob):
    __tracebackhide__ = True
    noisy_at_test = not np.array_equal(test, again)
    expect(
        not (noisy_at_test and np.allclose(train, x)),
        "The two phases are swapped: there is noise at prediction, and none in training.",
    )
    expect(
        not noisy_at_test,
        "The noise is still on at prediction. There x is returned as it is, and the same input "
        "always gives the same output.",
    )
    scale = factor(test[:, :-5], x[:, :-5])
    nothing_to_correct = (
        "The mask has mean 1, so activations are as large in training as at prediction: "
        "return x as it is."
    )
    for wrong, how in ((keep_prob, "multiplied"), (1 / keep_prob, "divided")):
        expect(
            scale is None or not math.isclose(scale, wrong, rel_tol=1e-3),
            f"At prediction the activations are {how} by keep_prob. {nothing_to_correct}",
        )
    expect(np.allclose(test, x), f"At prediction the output differs from x. {nothing_to_correct}")


# The same factors, where they stand in a penalty.
PENALTY_FACTORS = {
    "(1 - keep_prob) / keep_prob": (_variance, None),
    **VARIANCES,
    "((1 - keep_prob) / keep_prob)^2": (
        lambda p: _variance(p) ** 2,
        "squared once too often: (1 - keep_prob) / keep_prob is a variance already.",
    ),
    "sqrt((1 - keep_prob) / keep_prob)": (
        lambda p: math.sqrt(_variance(p)),
        "the standard deviation of the mask. The loss is squared: what counts is the variance, "
        "(1 - keep_prob) / keep_prob.",
    ),
    "1": (
        lambda p: 1.0,
        "so keep_prob has no part in it. With keep_prob=1 there is no noise, and nothing is "
        "added: the variance of the mask, (1 - keep_prob) / keep_prob, belongs there.",
    ),
}
NO_DATA = (
    "The inputs do not appear: this is a penalty on |w|^2, as noise that is ADDED to the inputs "
    "gives. A mask multiplies, so a large input gets large noise: each w_i^2 counts sum_n x_ni^2 "
    "times."
)
NO_WEIGHTS = (
    "The weights do not appear. Noise on an input matters as much as its weight is large: each "
    "sum_n x_ni^2 counts w_i^2 times."
)
SQUARES = "not squared. The penalty is a variance: it takes the squares of weights and inputs."
SUM_OF_SQUARES = (
    "The inputs are summed, then squared. Each example has masks of its own, so their variances "
    "add up: square first, then sum."
)
CROSS_TERMS = (
    "There are cross terms: you square the whole sum over i. The masks of two inputs are "
    "independent, so their variances add up without cross terms: square each w_i x_ni, then sum."
)
APART = (
    "The squared weights and the squared inputs are summed apart, then multiplied. Each w_i^2 "
    "belongs to its own input: multiply first, then sum over i."
)
CENTRED = (
    "The inputs are centred. A mask multiplies the input as it is: take sum_n x_ni^2, not squares "
    "about the mean."
)
SECOND_MOMENT = (
    "This is the mean square of the masked output, X w included. The penalty is its variance "
    "alone: without the square of the mean, and so without cross terms."
)


def _penalty_bases(X, w):
    """What may stand for sum_i w_i^2 sum_n x_ni^2, and what each mistake means."""
    w2, x2 = np.square(w), np.square(X).sum(axis=0)
    return (
        (w2 @ x2, None),
        (w2.sum(), NO_DATA),
        (np.abs(w).sum(), NO_DATA),
        (x2.sum(), NO_WEIGHTS),
        (np.abs(w) @ x2, f"The weights are {SQUARES}"),
        (w @ x2, f"The weights are {SQUARES}"),
        (w2 @ X.sum(axis=0), f"The inputs are {SQUARES}"),
        (w2 @ np.abs(X).sum(axis=0), f"The inputs are {SQUARES}"),
        (np.abs(w) @ np.abs(X).sum(axis=0), f"Weights and inputs are {SQUARES}"),
        (w2 @ np.square(X.sum(axis=0)), SUM_OF_SQUARES),
        (w2 @ np.sqrt(x2), "A root is taken of the sums of squares; none belongs there."),
        (np.sqrt(w2 @ x2), "A root is taken of the sum of squares; none belongs there."),
        (np.square(X @ w).sum(), CROSS_TERMS),
        (w2.sum() * x2.sum(), APART),
        (w2 @ np.square(X - X.mean(axis=0)).sum(axis=0), CENTRED),
    )


def dropout_penalty(student):
    """Check what inverted dropout on the inputs adds to the squared loss of a linear model.

    Parameters
    ----------
    student : callable
        ``dropout_penalty(X, w, keep_prob)``, returning
        (1 - keep_prob) / keep_prob * sum_i w_i^2 sum_n x_ni^2.

    Raises
    ------
    AssertionError
        Naming what is wrong: the inputs left out, the factor, a mean for the sum, squares.
    """
    __tracebackhide__ = True
    for n, n_inputs, keep_prob in ((5, 3, 0.81), (4, 6, 0.37), (7, 2, 0.5), (3, 4, 1.0)):
        data = np.random.default_rng(n)
        X = data.normal(0.7, 1, size=(n, n_inputs)) * data.uniform(0.5, 3, size=n_inputs)
        y, w = data.normal(size=n), data.normal(size=n_inputs)
        given = {"X": X, "w": w, "keep_prob": keep_prob}
        value = as_number(call(student, **given), "The penalty")
        right = _added_by_masks(X, y, w, keep_prob)
        if math.isclose(value, right, rel_tol=1e-5, abs_tol=1e-9):
            continue
        expect(
            keep_prob < 1,
            "With keep_prob=1 nothing is dropped, so nothing is added to the loss; your penalty "
            f"is {value:.4g}.",
        )
        _name_penalty(value, X, w, keep_prob)
        raise AssertionError(
            f"For {n} examples, {n_inputs} inputs and keep_prob={keep_prob} the summed squared "
            f"loss, averaged over all masks, is larger by {right:.6g} than without masks. Your "
            f"penalty is {value:.6g}."
        )
    print("dropout_penalty: what all masks add to the loss, on average.")


def _added_by_masks(X, y, w, keep_prob):
    """The same by enumeration: the loss averaged over all masks, less the loss without."""
    masks = all_masks(X.shape[1])
    predictions = (X[:, None, :] * masks / keep_prob) @ w  # examples, masks
    with_masks = np.square(y[:, None] - predictions) @ mask_probabilities(masks, keep_prob)
    return with_masks.sum() - np.square(y - X @ w).sum()


def _name_penalty(value, X, w, keep_prob):
    """Tell the mistakes that would give this value, one at a time."""
    __tracebackhide__ = True
    n, n_inputs = X.shape
    own = _variance(keep_prob) * np.square(X * w).sum()
    expect(not math.isclose(value, np.square(X @ w).sum() + own, rel_tol=1e-5), SECOND_MOMENT)
    sums = "The loss is a sum over the examples, not a mean: so is the penalty"
    scales = (
        (1, None),
        (-1, "The sign is turned: noise on the inputs makes the loss larger."),
        (1 / n, f"{sums}. Yours is {n} times too small, for {n} examples."),
        (1 / (n * n_inputs), f"{sums}, over examples and inputs."),
        (1 / n_inputs, "Sum over the inputs; yours is a mean over them."),
        (n, f"Yours is {n} times too large, for {n} examples: the sum over n is in it twice."),
        (1 / 2, "Yours is half of it. The loss of this exercise has no factor 1/2."),
        (2, "Yours is twice as large. The masks' variance comes without a factor 2."),
        (1 / n**2, f"{sums}."),
    )
    products = itertools.product(scales, PENALTY_FACTORS.items(), _penalty_bases(X, w))
    for (scale, about_scale), (formula, (of, about_factor)), (base, about_base) in products:
        if math.isclose(value, scale * of(keep_prob) * base, rel_tol=1e-5):
            if about_factor is not None:
                about_factor = f"The factor is {formula}, {about_factor}"
            raise AssertionError(about_base or about_factor or about_scale)


def dropout_by_ridge(student):
    """Check that ridge regression on scaled columns gives the weights of dropout.

    Parameters
    ----------
    student : callable
        ``dropout_by_ridge(X, y, keep_prob)``, returning the weights that minimise the squared loss
        under inverted dropout on the inputs.

    Raises
    ------
    AssertionError
        Naming what is wrong: the columns, the penalty, the scaling not undone, an intercept.
    """
    __tracebackhide__ = True
    for n, n_inputs, keep_prob in ((40, 4, 0.7), (25, 3, 0.4)):
        X, y = _regression(n, n_inputs)
        result = call(student, X=X, y=y, keep_prob=keep_prob)
        w = as_array(result, (n_inputs,), "The weights", "There is one for each column of X.")
        right = dropout_ridge(X, y, keep_prob)
        if not _near(w, right):
            _name_ridge(w, X, y, keep_prob)
            with np.printoptions(precision=4, suppress=True):
                raise AssertionError(
                    f"With keep_prob={keep_prob} the weights of least loss under dropout are "
                    f"{right}; yours are {w}. Which u = s * w makes the penalty a plain |u|^2?"
                )
    _check_silent_column(student)
    print("dropout_by_ridge: the weights that dropout on the inputs asks for.")


def _regression(n, n_inputs):
    """Columns of different sizes, with means that are not 0."""
    data = np.random.default_rng(n)
    X = data.normal(0.8, 1, size=(n, n_inputs)) * np.array([0.4, 3.0, 1.0, 6.0])[:n_inputs]
    return X, 2 + X @ data.uniform(0.5, 2, size=n_inputs) + data.normal(size=n)


def _near(w, other):
    return np.linalg.norm(w - other) < 1e-3 * np.linalg.norm(other)


AS_THEY_ARE = (
    "This is ridge regression on the columns as they are: each weight pays the same. Under dropout "
    "w_i^2 costs sum_n x_ni^2: scale the columns so that all of these are 1."
)
STANDARDIZED = (
    "The columns are divided by their standard deviation, which takes squares about the mean. A "
    "mask multiplies the input as it is, mean included: divide by the root of the sum of squares."
)
NO_ROOT = (
    "The columns are divided by their sum of squares. The penalty is sum_i (s_i w_i)^2, so s_i is "
    "the ROOT of that sum."
)
MULTIPLIED = (
    "The columns are multiplied by their norms. Divide: a large column must come out with norm 1, "
    "for its weight to cost what the others cost."
)
ONE_NORM = (
    "All columns are divided by one number, the norm of the whole of X, so they keep their "
    "different lengths. Each column has a norm of its own: sum over axis=0."
)
ROWS = (
    "The rows are divided by their norms: each example comes out with length 1. It is the columns, "
    "the inputs, that must: sum over axis=0."
)
NOT_UNDONE = (
    "These are the weights of the scaled columns. If column i was divided by s_i, its weight came "
    "out s_i times too large for X itself: undo the scaling."
)
INTERCEPT = (
    "An intercept was fitted, with the data centred. Pass fit_intercept=False: the model is X w."
)


def _name_ridge(w, X, y, keep_prob):
    """Tell the mistakes that would give these weights: of the smallest set, the first."""
    __tracebackhide__ = True
    found = []
    for (s, of_columns), (alpha, of_alpha), (intercept, of_origin) in itertools.product(
        _ridge_scales(X), _ridge_alphas(len(X), keep_prob), ((False, None), (True, INTERCEPT))
    ):
        u = _ridge(X / s, y, alpha, intercept)
        for yours, of_undoing in (
            (u / s, None),
            (u, NOT_UNDONE),
            (u * s, "The scaling is undone the wrong way: X w and (X / s) u agree for w = u / s."),
            (u / s / keep_prob, "The weights are divided by keep_prob, as for masks of 0 and 1."),
            (u / s * keep_prob, "The weights are scaled by keep_prob, as for masks of 0 and 1."),
        ):
            if _near(w, yours):
                mistakes = (of_columns, of_alpha, of_undoing, of_origin)
                found.append([mistake for mistake in mistakes if mistake])
    if found:
        raise AssertionError(min(found, key=len)[0])
    rows = X / np.linalg.norm(X, axis=1, keepdims=True)
    for intercept in (False, True):
        expect(not _near(w, _ridge(rows, y, _variance(keep_prob), intercept)), ROWS)


def _ridge_scales(X):
    """What the columns may be divided by."""
    norm = np.linalg.norm(X, axis=0)
    not_that = "The penalty is a sum of squares: divide by the root of the sum of squares."
    return (
        (norm, None),
        (np.ones_like(norm), AS_THEY_ARE),
        (X.std(axis=0), STANDARDIZED),
        (X.std(axis=0, ddof=1), STANDARDIZED),
        (norm / math.sqrt(len(X)), _too_small(len(X))),
        (norm**2, NO_ROOT),
        (np.sqrt(norm), f"The root is taken twice. {not_that}"),
        (1 / norm, MULTIPLIED),
        (np.full_like(norm, np.linalg.norm(X)), ONE_NORM),
        (np.abs(X).sum(axis=0), f"The columns are divided by sums of absolute values. {not_that}"),
        (np.abs(X).max(axis=0), f"The columns are divided by their largest entries. {not_that}"),
    )


def _ridge_alphas(n, keep_prob):
    """What may stand for alpha."""
    right, halved = _variance(keep_prob), "Neither the loss nor Ridge has a factor 1/2."
    yield right, None
    for formula, (of, message) in PENALTY_FACTORS.items():
        if message is not None:
            yield of(keep_prob), f"alpha is {formula}, {message}"
    yield right / n, _too_small(n)
    yield (
        n * right,
        f"The penalty is {n} times too large, for {n} examples. Ridge adds alpha |u|^2 to the SUM "
        "of squares: alpha needs no factor n.",
    )
    yield right / 2, f"alpha is half of what it must be. {halved}"
    yield 2 * right, f"alpha is twice what it must be. {halved}"
    yield 0.0, "There is no penalty: these are the weights of ordinary least squares."


def _too_small(n):
    return (
        f"The penalty is {n} times too small, for {n} examples. Ridge adds alpha |u|^2 to the SUM "
        "of squares: alpha needs no factor 1/n, and s_i is the root of the sum of squares of a "
        "column, not of their mean."
    )


def _ridge(X, y, alpha, intercept):
    if intercept:
        X, y = X - X.mean(axis=0), y - y.mean()
    return np.linalg.solve(X.T @ X + alpha * np.eye(X.shape[1]), X.T @ y)


def _check_silent_column(student):
    __tracebackhide__ = True
    X, y = _regression(30, 4)
    X[:, 1] = 0
    why = "Where a column of X is all 0"
    remedy = "Its norm is 0: divide that column by 1 instead, and its weight comes out 0."
    try:
        with np.errstate(all="ignore"), warnings.catch_warnings():
            warnings.simplefilter("ignore")  # NumPy's, of a division by zero
            w = np.asarray(student(X.copy(), y.copy(), 0.7), dtype=float)
    except Exception as error:
        short = str(error).split("\n", maxsplit=1)[0][:100]
        raise AssertionError(
            f"{why}, yours raised {type(error).__name__}: {short} {remedy}"
        ) from error
    expect(np.isfinite(w).all(), f"{why}, your weights are NaN or infinite. {remedy}")
    expect(abs(w[1]) < 1e-6, f"{why}, its weight must be 0; yours is {w[1]:.3g}.")
    expect(
        _near(w, dropout_ridge(X, y, 0.7)),
        f"{why}, the weights of the others must be as if it were not there.",
    )


def mean_correlation(student):
    """Check a measure of how strongly hidden units are correlated.

    Parameters
    ----------
    student : callable
        ``mean_correlation(H)``, the mean of ``|r_ij|`` over pairs of different live units.

    Raises
    ------
    AssertionError
        Naming what is wrong: the diagonal, signs that cancel, dead units, covariances, examples
        correlated in place of units.
    """
    __tracebackhide__ = True
    data = np.random.default_rng(9)
    for n, units in ((60, 7), (12, 20)):
        live = np.maximum(1 + data.normal(size=(n, 4)) @ data.normal(size=(4, units)), 0)
        live *= data.uniform(0.5, 3, size=units)
        live[:, -1] = 2 * live[:, 0]  # twins
        value = as_number(call(student, H=live), "The mean correlation")
        _name_correlation(value, live)
        H = np.insert(live, (0, 3, 5), 0, axis=1)
        _check_dead(call(student, H=H), value, live, H)
    print("mean_correlation: |r| of different units, dead ones left out.")


def _off_diagonal(matrix):
    return matrix[~np.eye(len(matrix), dtype=bool)]


DIAGONAL = (
    "The diagonal is counted. There each unit is compared with itself, which gives 1 whatever the "
    "units do: take pairs of different units."
)
SIGNS = (
    "Signs cancel: pairs with r = 1 and r = -1 would average to 0, though both repeat each other. "
    "Take the absolute value of each r, then the mean."
)
EXAMPLES = (
    "Examples are correlated with one another. Here a unit is a column: np.corrcoef(H, "
    "rowvar=False), or of H.T."
)
COVARIANCES = (
    "These are covariances: they grow with the size of the activations. Divide by both standard "
    "deviations, as np.corrcoef does."
)
COSINES = (
    "These are cosines between columns, without the mean taken off. Activations after a ReLU are "
    "never negative, so all would seem alike: subtract each unit's mean."
)
TWINS = (
    "Pairs with a correlation of 1 are left out, as if they were on the diagonal. Two units that "
    "repeat each other are what this is to find: leave out i = j, not r = 1."
)
TWICE = "each pair stands twice in the matrix, and once above its diagonal."


def _name_correlation(value, H):
    __tracebackhide__ = True
    r, units = correlations(H), H.shape[1]
    signed = _off_diagonal(r)
    strengths = np.abs(signed)
    right = strengths.mean()
    cosines = H.T @ H / np.outer(*2 * [np.linalg.norm(H, axis=0)])
    covariances = [np.cov(H, rowvar=False, ddof=ddof) for ddof in (0, 1)]
    divided_by_all = (
        "The diagonal is left out of the sum but counted in the number of pairs: with "
        f"{units} units, {units} * {units - 1} entries are off it."
    )
    for others, message in (
        ([right], None),
        ([np.abs(r).mean(), r.mean()], DIAGONAL),
        ([signed.mean(), abs(signed.mean())], SIGNS),
        (_means(np.corrcoef(H)), EXAMPLES),
        ([mean for matrix in covariances for mean in _means(matrix)], COVARIANCES),
        (_means(cosines), COSINES),
        ([np.square(signed).mean()], "The correlations are squared. Take their absolute values."),
        ([strengths.sum() / units**2], divided_by_all),
        ([right / 2], f"Half the pairs are summed and all are counted: {TWICE}"),
        ([2 * right], f"All entries are summed and half the pairs are counted: {TWICE}"),
        ([strengths.sum(), strengths.sum() / 2], "This is a sum. Divide by the number of pairs."),
        ([strengths[strengths < 1 - 1e-9].mean()], TWINS),
        ([strengths.max()], "This is the strongest correlation. Take the mean over all pairs."),
        ([np.median(strengths)], "This is the median. Take the mean over all pairs."),
    ):
        if any(math.isclose(value, other, rel_tol=1e-5) for other in others):
            expect(message is None, message)
            return
    raise AssertionError(
        f"For {len(H)} examples and {units} units, all alive, the mean of |r| over pairs of "
        f"different units is {right:.6f}; yours is {value:.6f}."
    )


def _means(matrix):
    """The mean of a matrix with and without its diagonal, with and without signs."""
    return [np.mean(v) for m in (matrix, np.abs(matrix)) for v in (m, _off_diagonal(m))]


def _check_dead(result, right, live, H):
    __tracebackhide__ = True
    n_dead = H.shape[1] - live.shape[1]
    dead = (
        f"With {n_dead} dead units among {H.shape[1]}, whose standard deviation is 0 and whose "
        "correlation is 0/0,"
    )
    expect(
        not (isinstance(result, numbers.Real) and math.isnan(result)),
        f"{dead} the mean is NaN. Leave these units out before you correlate the others.",
    )
    value = as_number(result, "The mean correlation")
    if math.isclose(value, right, rel_tol=1e-5):
        return
    pairs, all_pairs = (k * (k - 1) for k in (live.shape[1], H.shape[1]))
    expect(
        not math.isclose(value, right * pairs / all_pairs, rel_tol=1e-4),
        f"{dead} their pairs count as uncorrelated. The more units die, the less correlated a "
        "layer would seem. Leave them out of the pairs as well.",
    )
    raise AssertionError(
        f"{dead} the mean changes from {right:.4f} to {value:.4f}. Leave them out: it must stay."
    )
