"""What the checks share: calling a student's function, and looking at masks and scales.

A check that looks at random numbers allows 6.5 standard deviations: a right answer fails it less
than once in ten billion times.
"""

import copy
import math
import numbers

import numpy as np

SIGMAS = 6.5


def expect(condition, message):
    """Raise an AssertionError with `message` unless `condition` holds."""
    __tracebackhide__ = True
    if not condition:
        raise AssertionError(message)


def call(function, **arguments):
    """Call a student's function with `arguments`, in that order, and explain what goes wrong.

    Parameters
    ----------
    function : callable
        What the student wrote.
    **arguments
        Passed by position, so that the student may rename them. The function gets copies, but of
        random generators the object itself.

    Returns
    -------
    object
        What the function returned: anything but None.

    Raises
    ------
    AssertionError
        If it is no function, raises, returns None, or changes its arguments.
    """
    __tracebackhide__ = True
    expect(
        callable(function),
        f"The check wants the function itself, without parentheses: it got {brief(function)}.",
    )
    name = function.__name__ if hasattr(function, "__name__") else "your function"
    described = f"{name}({', '.join(f'{key}={brief(value)}' for key, value in arguments.items())})"
    given = {
        key: value if isinstance(value, np.random.Generator) else copy.deepcopy(value)
        for key, value in arguments.items()
    }
    try:
        result = function(*given.values())
    except NotImplementedError:
        raise AssertionError(
            f"{name} is not written yet. Replace the line `raise NotImplementedError(...)` with "
            "your code, run its cell, then this one."
        ) from None
    except Exception as error:
        raise AssertionError(f"{described} raised {type(error).__name__}: {error}") from error
    for key, value in given.items():
        expect(
            same(value, arguments[key]),
            f"{name} changed its argument {key} in place. Whoever called it still needs the old "
            "values: compute a new array, without *= or assignments into the old one.",
        )
    expect(
        result is not None,
        f"{described} returned None. Is a `return` missing, or is the function still empty?",
    )
    return result


def brief(value):
    """Describe an argument in a few words."""
    if isinstance(value, np.random.Generator):
        return "rng"
    if isinstance(value, np.ndarray):
        return f"<array {' x '.join(map(str, value.shape))}>"
    if isinstance(value, list | tuple):
        text = ", ".join(brief(item) for item in value)
        return f"[{text}]" if isinstance(value, list) else f"({text})"
    return repr(value) if isinstance(value, str | numbers.Number) else f"<{type(value).__name__}>"


def same(a, b):
    """Whether two arguments are still the same, lists of arrays included."""
    if isinstance(a, np.random.Generator):
        return True
    if isinstance(a, list | tuple):
        return len(a) == len(b) and all(map(same, a, b))
    return np.array_equal(a, b)


def as_array(result, shape, what, wrong_shape=""):
    """Return a student's array of numbers, of this shape and without NaN.

    Parameters
    ----------
    result : object
        What the student returned.
    shape : tuple of int
        The shape it must have.
    what : str
        How messages call it.
    wrong_shape : str
        What a wrong shape means, added to the message.

    Returns
    -------
    numpy.ndarray

    Raises
    ------
    AssertionError
        If it is something else.
    """
    __tracebackhide__ = True
    expect(
        isinstance(result, np.ndarray),
        f"{what} must be a NumPy array, yours is of type {type(result).__name__}. "
        "np.asarray(...) makes one of a list.",
    )
    expect(
        result.shape == shape,
        f"{what} must have shape {shape}, yours has {result.shape}. {wrong_shape}".rstrip(),
    )
    expect(result.dtype.kind in "biuf", f"{what} must hold numbers, yours holds {result.dtype}.")
    result = result.astype(float)
    expect(
        np.isfinite(result).all(),
        f"{what} has entries that are NaN or infinite. Was something divided by zero?",
    )
    return result


def as_number(result, what):
    """Return a student's number as a float.

    Parameters
    ----------
    result : object
        What the student returned: a number, or an array that holds just one.
    what : str
        How messages call it.

    Returns
    -------
    float

    Raises
    ------
    AssertionError
        If it is something else, or NaN.
    """
    __tracebackhide__ = True
    is_number = isinstance(result, numbers.Real) or (
        isinstance(result, np.ndarray) and result.size == 1 and result.dtype.kind in "biuf"
    )
    expect(
        is_number, f"{what} must be one number, yours is {brief(result)} ({type(result).__name__})."
    )
    result = float(np.ravel(result)[0])
    expect(math.isfinite(result), f"{what} is {result}. Was something divided by zero?")
    return result


def as_pair(result, names):
    """Return the two things that a student's function returned.

    Parameters
    ----------
    result : object
        What the student returned: a tuple or list of two, or an array of two rows.
    names : str
        How messages call the two, as one would return them: "mean, standard_error".

    Returns
    -------
    tuple

    Raises
    ------
    AssertionError
        If they are not two.
    """
    __tracebackhide__ = True
    is_pair = isinstance(result, list | tuple) or (
        isinstance(result, np.ndarray) and result.ndim > 0
    )
    expect(is_pair and len(result) == 2, f"The function must return two things: return {names}.")
    return tuple(result)


def check_value(value, right, mistakes, otherwise, rtol=1e-6, atol=1e-9):
    """Compare a student's numbers with the right ones, and name the mistake that gives others.

    Parameters
    ----------
    value, right : float or numpy.ndarray
        Of one shape.
    mistakes : iterable of tuple
        Pairs of the numbers that a mistake gives, and what it means. Those of another shape are
        passed over.
    otherwise : str
        What to say of numbers that no mistake in the list gives.
    rtol, atol : float
        How close numbers must be to count as equal, as for ``numpy.isclose``.

    Raises
    ------
    AssertionError
        If the numbers are not the right ones.
    """
    __tracebackhide__ = True

    def is_(other):
        return np.shape(value) == np.shape(other) and np.allclose(value, other, rtol, atol)

    if is_(right):
        return
    for wrong, message in mistakes:
        expect(not is_(wrong), message)
    raise AssertionError(otherwise)


def farthest(value, right):
    """Where two arrays of one shape differ most, for a message.

    Parameters
    ----------
    value, right : numpy.ndarray

    Returns
    -------
    tuple of int
        The index.
    """
    return tuple(int(i) for i in np.unravel_index(np.abs(value - right).argmax(), right.shape))


def check_kept(kept, keep_prob):
    """Look at which units a batch kept.

    Parameters
    ----------
    kept : numpy.ndarray of bool, shape (examples, units)
        At least 100 x 20, so that chance does not matter.
    keep_prob : float
        The probability to keep that was asked for, not 1/2.

    Raises
    ------
    AssertionError
        If the examples share a mask, the units share a draw, or the share kept is wrong.
    """
    __tracebackhide__ = True
    share = kept.mean()
    expect(not kept.all(), "No unit was dropped: where is the mask?")
    expect(kept.any(), "Every unit of every example was dropped: nothing gets through.")
    expect(
        not (kept == kept[0]).all(),
        "One mask for the whole batch: every example lost the same units. Each example of a batch "
        "needs a mask of its own, so draw a number for each example and each unit.",
    )
    expect(
        not (kept == kept[:, :1]).all(),
        "In each example all units are kept or dropped together. "
        "Each unit needs a draw of its own: draw a number for each example and each unit.",
    )
    tolerance = SIGMAS * math.sqrt(keep_prob * (1 - keep_prob) / kept.size)
    expect(
        abs(share - (1 - keep_prob)) > tolerance,
        f"You kept {share:.0%} of the units and dropped {1 - share:.0%}, with "
        f"keep_prob={keep_prob}: did you take keep_prob for the probability to drop?",
    )
    expect(
        abs(share - keep_prob**2) > tolerance,
        f"You kept {share:.0%} of the units, which is keep_prob squared: "
        "is the mask drawn and applied twice?",
    )
    expect(
        abs(share - keep_prob) < tolerance,
        f"You kept {share:.1%} of the units; keep_prob={keep_prob} asks for {keep_prob:.0%}.",
    )
    expect(
        np.ptp(kept.sum(axis=1)) > 0,
        "Every example kept exactly the same number of units. Units are dropped independently of "
        "each other, so the number varies from example to example.",
    )


def check_share(kept, keep_prob, what, name="keep_prob"):
    """Look at the share of what was kept, whatever it is.

    Parameters
    ----------
    kept : numpy.ndarray of bool
    keep_prob : float
        The probability to keep that was asked for, not 1/2.
    what : str
        How messages call what is kept, in the plural.
    name : str
        How the exercise calls `keep_prob`.

    Raises
    ------
    AssertionError
        If the share is wrong.
    """
    __tracebackhide__ = True
    share = kept.mean()
    tolerance = SIGMAS * math.sqrt(keep_prob * (1 - keep_prob) / kept.size)
    if abs(share - keep_prob) < tolerance:
        return
    turned, twice = abs(share - (1 - keep_prob)), abs(share - keep_prob**2)
    expect(
        turned > min(tolerance, twice),
        f"You kept {share:.0%} of the {what}, with {name}={keep_prob}: did you take {name} for the "
        "probability to drop?",
    )
    expect(
        twice > tolerance,
        f"You kept {share:.0%} of the {what}, which is {name} squared: are there two masks, one on "
        "top of the other?",
    )
    raise AssertionError(
        f"You kept {share:.1%} of the {what}; {name}={keep_prob} asks for {keep_prob:.0%}."
    )


def check_fresh(draw):
    """Call a random function of the student again and again.

    Parameters
    ----------
    draw : callable
        Takes a random generator, returns an array or a number.

    Raises
    ------
    AssertionError
        If two calls give the same, or two generators of one seed do not.
    """
    __tracebackhide__ = True
    rng = np.random.default_rng(1)
    first, second = draw(rng), draw(rng)
    expect(
        not np.array_equal(first, second),
        "Two calls drew the same mask. Every minibatch needs a fresh one: "
        "is a generator seeded inside your function? Draw from the rng it is given.",
    )
    expect(
        np.array_equal(first, draw(np.random.default_rng(1))),
        "Two generators with the same seed gave different masks. Draw all random numbers from the "
        "rng your function is given, so that an experiment can be repeated.",
    )


def check_unknown_phase(student, *arguments):
    """Call a student's layer with a phase that does not exist.

    Parameters
    ----------
    student : callable
    *arguments
        What it takes, with the phase "predict" among them.

    Raises
    ------
    AssertionError
        If it raises no ValueError.
    """
    __tracebackhide__ = True
    try:
        student(*arguments)
    except ValueError:
        return
    except Exception as error:
        raise AssertionError(
            'An unknown phase must raise a ValueError; phase="predict" raised '
            f"{type(error).__name__}: {error}"
        ) from error
    raise AssertionError(
        'phase="predict" was accepted. A misspelt phase that passes in silence is a mask left '
        "on, or never applied: raise a ValueError."
    )


def factor(values, units):
    """By what one factor do `values` differ from `units`? None if by several.

    Parameters
    ----------
    values, units : numpy.ndarray
        Of one shape.

    Returns
    -------
    float or None
    """
    ratios = values / units
    return float(ratios.flat[0]) if np.allclose(ratios, ratios.flat[0], rtol=1e-4) else None


def check_phases(run, units, keep_prob, wanted, messages, why_still_on=""):
    """Look at a dropout layer in its two phases.

    Parameters
    ----------
    run : callable
        Takes a phase, "train" or "test", and a random generator; returns what the layer makes of
        `units`.
    units : numpy.ndarray, shape (examples, units)
        The activations without dropout, none of them 0.
    keep_prob : float
    wanted : tuple of str
        The factors for training and prediction, by their names in `FACTORS`.
    messages : dict
        From a pair of such names to what the mistake means.
    why_still_on : str
        What is the likely cause if the mask is still on at prediction.

    Raises
    ------
    AssertionError
        If the mask or the scale is wrong in a phase.
    """
    __tracebackhide__ = True
    rng = np.random.default_rng(2)
    train, test, again = run("train", rng), run("test", rng), run("test", rng)
    masked_in_training = (train == 0).any()
    masked_at_test = (test == 0).any() or not np.array_equal(test, again)
    expect(
        masked_in_training or not masked_at_test,
        "The two phases are swapped: units are dropped at prediction and none in training.",
    )
    expect(
        not masked_at_test,
        "The mask is still on at prediction: units are dropped there too. "
        "At prediction all units take part, and the same input always gives the same output."
        f"{why_still_on}",
    )
    kept = train != 0
    check_kept(kept, keep_prob)
    check_fresh(lambda rng: run("train", rng))
    check_factors(
        factor(train[kept], units[kept]), factor(test, units), keep_prob, wanted, messages
    )


def check_factors(train, test, keep_prob, wanted, messages):
    """Compare the factors that a student's layer applies with those it should.

    Parameters
    ----------
    train, test : float or None
        What kept activations are multiplied by in training, all of them at prediction.
    keep_prob : float
    wanted : tuple of str
        Names of the two right factors, among those of `FACTORS`.
    messages : dict
        From a pair of names to what such a mistake means.

    Raises
    ------
    AssertionError
        If they differ.
    """
    __tracebackhide__ = True
    names = tuple(_name(value, keep_prob) for value in (train, test))
    if names != wanted:
        yours = ["no single factor" if value is None else f"{value:.4g}" for value in (train, test)]
        general = (
            f"Kept activations must be multiplied by {wanted[0]} in training and all of them by "
            f"{wanted[1]} at prediction; yours are multiplied by {yours[0]} and {yours[1]}, with "
            f"keep_prob={keep_prob}."
        )
        near = train is None or math.isclose(train, 1 / keep_prob, rel_tol=0.1)
        if names[0] is None and near:
            general += f" {BY_SHARE}"
        raise AssertionError(messages.get(names, general))


BY_SHARE = "Did you divide by the share that happened to be kept? Divide by keep_prob itself."


FACTORS = {
    "1": lambda keep_prob: 1.0,
    "keep_prob": lambda keep_prob: keep_prob,
    "1/keep_prob": lambda keep_prob: 1 / keep_prob,
    "1 - keep_prob": lambda keep_prob: 1 - keep_prob,
    "1/(1 - keep_prob)": lambda keep_prob: 1 / (1 - keep_prob),
    "1/keep_prob^2": lambda keep_prob: 1 / keep_prob**2,
}

# What may stand for the variance (1 - p) / p of a mask: formulas, and what each mistake means.
VARIANCES = {
    "keep_prob * (1 - keep_prob)": (
        lambda p: p * (1 - p),
        "that of zeros and ones without a scale. Scaled by 1/keep_prob, a mask has its variance "
        "divided by keep_prob squared: (1 - keep_prob) / keep_prob.",
    ),
    "1 - keep_prob": (
        lambda p: 1 - p,
        "which is what the slides' p(1 - p)/p comes to. That is a slip: dividing by p divides "
        "the variance p(1 - p) by p squared, which leaves (1 - keep_prob) / keep_prob.",
    ),
    "keep_prob / (1 - keep_prob)": (
        lambda p: p / (1 - p),
        "upside down: did you take keep_prob for the probability to drop? "
        "It is (1 - keep_prob) / keep_prob, and vanishes where everything is kept.",
    ),
    "sqrt((1 - keep_prob) / keep_prob)": (
        lambda p: math.sqrt((1 - p) / p),
        "one root too many: (1 - keep_prob) / keep_prob is the variance, and its root the "
        "standard deviation.",
    ),
    "(1 - keep_prob) / keep_prob^2": (
        lambda p: (1 - p) / p**2,
        "divided by keep_prob once too often. It is (1 - keep_prob) / keep_prob.",
    ),
    "1 / keep_prob": (
        lambda p: 1 / p,
        "the mean square of a scaled mask. Its variance is less, by the square of its mean: "
        "1/keep_prob - 1, that is (1 - keep_prob) / keep_prob.",
    ),
    "1": (
        lambda p: 1.0,
        "whatever keep_prob is. The fewer units dropout keeps, the larger the variance: "
        "(1 - keep_prob) / keep_prob.",
    ),
}


def _name(value, keep_prob):
    if value is None:
        return None
    close = (n for n, f in FACTORS.items() if math.isclose(value, f(keep_prob), rel_tol=1e-3))
    return next(close, None)
