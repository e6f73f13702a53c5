"""Arguments, declared once: their check, its message and its documentation follow.

A function or a class says what its arguments may be::

    @declared(keep_prob=PROBABILITY, scaling=OneOf("inverted", "weight"))
    class Dropout: ...

Each value is checked, and converted, before the body runs. A value that is not allowed is a
TypeError or a ValueError of one form: "keep_prob must be a number in (0, 1], got 1.5". The
docstring says so under *Raises*, and the tests try the bad values of each declaration.
"""

import functools
import inspect
import math
import numbers
import os
import re

import numpy as np


class Kind:
    """What an argument may be.

    Attributes
    ----------
    allowed : str
        In words that follow "must be".
    good : object
        A value that is allowed.
    bad : list
        Values that are not.
    """

    allowed = ""
    good = None
    bad = ()

    def check(self, value, name):
        """Return the value, converted to the type that the body works with.

        Parameters
        ----------
        value : object
        name : str
            Of the argument, for the message.

        Raises
        ------
        TypeError, ValueError
            If it is not allowed: of another type, or out of range.
        """
        raise NotImplementedError

    def refuse(self, value, name, error=ValueError):
        """Raise the error that says what is allowed.

        Parameters
        ----------
        value : object
        name : str
        error : type
        """
        of_type = f" of type {type(value).__name__}" if error is TypeError else ""
        raise error(f"{name} must be {self.allowed}, got {shown(value)}{of_type}")


def shown(value):
    """A value as an error message shows it: arrays and tensors by their shape and dtype."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and math.prod(value.shape) != 1:
        return f"{type(value).__name__} of shape {tuple(value.shape)} and {value.dtype}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


class Real(Kind):
    """A real number in an interval; infinite only where the interval's end says so.

    Parameters
    ----------
    low, high : float
    ends : {"[]", "(]", "[)", "()"}
        Which ends are included.
    """

    def __init__(self, low=-math.inf, high=math.inf, ends="()"):
        self.low, self.high, self.ends = low, high, ends
        left, right = ends
        if low == -math.inf and high == math.inf:
            self.allowed = "a finite number" if ends == "()" else "a number"
        elif high == math.inf and right == ")":
            self.allowed = f"a finite number {'of at least' if left == '[' else 'above'} {low:g}"
        else:
            self.allowed = f"a number in {left}{low:g}, {high:g}{right}"
        outside = [
            value for value in (-math.inf, low - 1, high + 1, math.inf) if not self.has(value)
        ]
        on_ends = [value for value in (low, high) if math.isfinite(value) and not self.has(value)]
        self.bad = [*outside, *on_ends, math.nan, "0.5", None, True, 0.5j, [0.5]]

    @property
    def good(self):
        inside = (self.low + self.high) / 2 if math.isfinite(self.low + self.high) else self.low + 1
        return inside if math.isfinite(inside) else 0.5

    def has(self, value):
        """Whether a number lies in the interval."""
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return bool(above and below)

    def check(self, value, name):
        if isinstance(value, bool) or not isinstance(value, numbers.Real):
            self.refuse(value, name, TypeError)
        if not self.has(value):
            self.refuse(value, name)
        return float(value)


PROBABILITY = Real(0, 1, "(]")  # to keep, to survive
SHARE = Real(0, 1, "[]")
POSITIVE = Real(0)
NOT_NEGATIVE = Real(0, ends="[)")
FINITE = Real()


class Whole(Kind):
    """A whole number.

    Parameters
    ----------
    at_least : int
    at_most : int, optional
    """

    def __init__(self, at_least=1, at_most=None):
        self.at_least, self.at_most = at_least, at_most
        span = f"of at least {at_least}" if at_most is None else f"from {at_least} to {at_most}"
        self.allowed = f"a whole number {span}"
        self.good = at_least
        above = [] if at_most is None else [at_most + 1]
        self.bad = [at_least - 1, *above, float(at_least), math.nan, str(at_least), None, True]

    def check(self, value, name):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            self.refuse(value, name, TypeError)
        if value < self.at_least or (self.at_most is not None and value > self.at_most):
            self.refuse(value, name)
        return int(value)


COUNT = Whole()


class OneOf(Kind):
    """One of some words, or of other values.

    Parameters
    ----------
    *choices
    """

    def __init__(self, *choices):
        self.choices = choices
        self.allowed = f"one of {', '.join(map(repr, choices))}"
        self.good = choices[0]
        self.bad = ["no such choice", "", 17, ["a"]]

    def check(self, value, name):
        if not any(
            value is choice or (type(value) is type(choice) and value == choice)
            for choice in self.choices
        ):
            self.refuse(value, name)
        return value


SCALING = OneOf("inverted", "weight")  # whether the mask is m / keep_prob or m


class Flag(Kind):
    """True or False."""

    allowed = "True or False"
    good = True
    bad = (None, 0, 1.0, "yes", "False")

    def check(self, value, name):
        if not isinstance(value, bool | np.bool_):
            self.refuse(value, name, TypeError)
        return bool(value)


class Text(Kind):
    """A string.

    Parameters
    ----------
    at_least : int
        How many characters it has, blanks at its ends not counted.
    """

    def __init__(self, at_least=0):
        self.at_least = at_least
        special = {0: "a text", 1: "a text, not blank"}
        self.allowed = special.get(at_least, f"a text of at least {at_least} characters")
        self.good = "x" * at_least
        self.bad = [None, 3, True, ["a"], *([" " * at_least] if at_least else [])]

    def check(self, value, name):
        if not isinstance(value, str):
            self.refuse(value, name, TypeError)
        if len(value.strip()) < self.at_least:
            self.refuse(value, name)
        return value


TEXT = Text()


class Instance(Kind):
    """An object of a class.

    Parameters
    ----------
    cls : type or tuple of type
    allowed : str
        In words.
    good : callable
        Makes one, for the tests.
    """

    def __init__(self, cls, allowed, good=None):
        self.cls, self.allowed, self.make = cls, allowed, good
        self.bad = [each for each in (None, 0, "text", object()) if not isinstance(each, cls)]

    @property
    def good(self):
        return self.make()

    def check(self, value, name):
        if not isinstance(value, self.cls):
            self.refuse(value, name, TypeError)
        return value


GENERATOR = Instance(
    np.random.Generator,
    "a numpy.random.Generator, such as numpy.random.default_rng(0)",
    lambda: np.random.default_rng(0),
)


PATH = Instance((str, os.PathLike), "a path", lambda: "folder")


class Function(Kind):
    """Something that can be called."""

    allowed = "a function, or another callable"
    good = staticmethod(len)
    bad = (None, 3, "text")

    def check(self, value, name):
        if not callable(value):
            self.refuse(value, name, TypeError)
        return value


class Numbers(Kind):
    """Real numbers in an array, each in an interval.

    Parameters
    ----------
    each : Real
        What an entry may be.
    ndim : int, optional
        Number of dimensions.
    empty : bool
        Whether there may be no entries.
    nan : bool
        Whether an entry may be NaN: not measured.
    """

    def __init__(self, each=FINITE, ndim=None, empty=True, nan=False):
        self.each, self.ndim, self.empty, self.nan = each, ndim, empty, nan
        shape = "" if ndim is None else f" of {ndim} dimension{'s' * (ndim != 1)}"
        some = "" if empty else ", one at the least"
        self.allowed = f"an array{shape}{some}, each entry {each.allowed}{' or NaN' * nan}"
        if ndim == 0:
            self.allowed = each.allowed
        self.good = np.full((2,) * (1 if ndim is None else ndim), float(each.good))
        numbers_out = [
            value
            for value in each.bad
            if isinstance(value, float | int) and value is not True and not (nan and value != value)
        ]
        self.bad = [
            *(np.full_like(self.good, value) for value in numbers_out),
            "text",
            None,
            ["a"],
            1j,
        ]
        if ndim is not None:
            self.bad.append(np.full((2,) * (ndim + 1), each.good))

    def check(self, value, name):
        try:
            array = np.asarray(value)
        except (ValueError, RuntimeError):  # ragged rows; a tensor that needs its gradient
            self.refuse(value, name, TypeError)
        if array.dtype.kind not in "fiub":
            self.refuse(value, name, TypeError)
        array = array.astype(float)
        if self.ndim not in (None, array.ndim) or not (self.empty or array.size):
            self.refuse(array, name)
        low = array >= self.each.low if self.each.ends[0] == "[" else array > self.each.low
        high = array <= self.each.high if self.each.ends[1] == "]" else array < self.each.high
        inside = low & high | (self.nan & np.isnan(array))
        if not inside.all():
            self.refuse(float(array[~inside].flat[0]), name)
        return array


NUMBERS = Numbers()
PROBABILITIES = Numbers(PROBABILITY)
VARIANCES = Numbers(NOT_NEGATIVE)


class Optional(Kind):
    """None, or what another kind allows.

    Parameters
    ----------
    kind : Kind
    """

    def __init__(self, kind):
        self.kind, self.allowed = kind, f"{kind.allowed}, or None"

    @property
    def good(self):
        return self.kind.good

    @property
    def bad(self):
        return [value for value in self.kind.bad if value is not None]

    def check(self, value, name):
        if value is None:
            return None
        try:
            return self.kind.check(value, name)
        except (TypeError, ValueError) as error:
            return self.refuse(value, name, type(error))


class Pair(Kind):
    """One value for both of two directions, or a pair of values.

    Parameters
    ----------
    kind : Kind
    """

    def __init__(self, kind):
        self.kind, self.allowed = kind, f"{kind.allowed}, or a pair of them"
        self.bad = [*kind.bad, (kind.good,) * 3, (kind.good, "text")]

    @property
    def good(self):
        return self.kind.good

    def check(self, value, name):
        values = value if isinstance(value, tuple | list) else (value, value)
        if len(values) != 2:
            self.refuse(value, name)
        try:
            return tuple(self.kind.check(each, name) for each in values)
        except (TypeError, ValueError) as error:
            return self.refuse(value, name, type(error))


class Many(Kind):
    """A list, or another iterable, whose items another kind allows.

    Parameters
    ----------
    kind : Kind
    at_least : int
        Number of items.
    """

    def __init__(self, kind, at_least=1):
        self.kind, self.at_least = kind, at_least
        self.allowed = f"a list of {at_least} or more, each {kind.allowed}"
        self.bad = [None, 3, *([bad] for bad in kind.bad), *([[]] if at_least else [])]

    @property
    def good(self):
        return [self.kind.good] * max(self.at_least, 1)

    def check(self, value, name):
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            self.refuse(value, name, TypeError)
        items = list(value)
        if len(items) < self.at_least:
            self.refuse(items, name)
        try:
            return [self.kind.check(each, name) for each in items]
        except (TypeError, ValueError) as error:
            return self.refuse(items, name, type(error))


class Shape(Kind):
    """Sizes of an array's dimensions, or one number for one dimension."""

    allowed = "a whole number of at least 0, or a tuple of them"
    good = (2, 3)
    bad = (-1, (2, -1), 2.0, (2, 0.5), "2", None, True)

    def check(self, value, name):
        sizes = value if isinstance(value, tuple | list) else (value,)
        for size in sizes:
            if isinstance(size, bool) or not isinstance(size, numbers.Integral):
                self.refuse(value, name, TypeError)
            if size < 0:
                self.refuse(value, name)
        return tuple(int(size) for size in sizes)


SHAPE = Shape()


def declared(**kinds):
    """Decorate a function or a class with what its arguments may be.

    Parameters
    ----------
    **kinds : Kind
        By the argument's name.

    Returns
    -------
    callable
        The decorator. What it decorates has the declarations as ``declared``.
    """

    def decorate(target):
        function = target.__init__ if isinstance(target, type) else target
        signature = inspect.signature(function)
        if unknown := kinds.keys() - signature.parameters.keys():
            raise TypeError(f"{target.__name__} has no argument {', '.join(sorted(unknown))}")

        @functools.wraps(function)
        def checked(*args, **kwargs):
            bound = signature.bind(*args, **kwargs)
            for name, kind in kinds.items():
                if name in bound.arguments:
                    bound.arguments[name] = kind.check(bound.arguments[name], name)
            return function(*bound.args, **bound.kwargs)

        result = target if isinstance(target, type) else checked
        if isinstance(target, type):
            target.__init__ = checked
        result.__doc__ = with_raises(target.__doc__, kinds)
        result.declared = kinds
        return result

    return decorate


SECTION = re.compile(r"^(\s*)(Raises|Warns|See Also|Notes|References|Examples)\n\s*-{3,}\n", re.M)


def with_raises(docstring, kinds):
    """Add to a docstring in numpydoc form, under *Raises*, what the declarations refuse.

    Parameters
    ----------
    docstring : str or None
    kinds : dict of str to Kind

    Returns
    -------
    str or None
    """
    if not docstring:
        return docstring
    lines = [f"If `{name}` is not {kind.allowed}." for name, kind in kinds.items()]
    section = SECTION.search(docstring)
    indent = section[1].strip("\n") if section else _indent(docstring)
    entry = "".join(
        f"{indent}{line}\n"
        for line in ["TypeError, ValueError", *(f"    {line}" for line in lines)]
    )
    if section and section[2] == "Raises":
        return docstring[: section.end()] + entry + docstring[section.end() :]
    added = f"{indent}Raises\n{indent}------\n{entry}"
    if section:
        start = section.start() + len(section[1]) - len(indent)
        return docstring[:start] + added + "\n" + docstring[start:]
    return docstring.rstrip() + "\n\n" + added + indent


def _indent(docstring):
    later = [line for line in docstring.splitlines()[1:] if line.strip()]
    return " " * min((len(line) - len(line.lstrip()) for line in later), default=0)
