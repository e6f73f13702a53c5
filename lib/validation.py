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
    """What an argument may be."""

    allowed = ""  # in words that follow "must be"
    good = None  # a value that is allowed
    bad = ()  # values that are not

    def check(self, value, name):
        """Return the value, of the type that the body works with, or refuse it."""
        raise NotImplementedError

    def refuse(self, value, name, error=ValueError):
        """Raise the error that says what is allowed: a TypeError names the value's type."""
        of_type = f" of type {type(value).__name__}" if error is TypeError else ""
        raise error(f"{name} must be {self.allowed}, got {shown(value)}{of_type}")


def shown(value):
    """A value as an error message shows it: arrays and tensors by their shape and dtype."""
    if hasattr(value, "shape") and hasattr(value, "dtype") and math.prod(value.shape) != 1:
        return f"{type(value).__name__} of shape {tuple(value.shape)} and {value.dtype}"
    text = repr(value)
    return text if len(text) <= 200 else f"{text[:200]}..."


class Real(Kind):
    """A real number in an interval; `ends`, such as "(]", say which of its ends are included."""

    def __init__(self, low=-math.inf, high=math.inf, ends="()"):
        self.low, self.high, self.ends = low, high, ends
        left, right = ends
        if low == -math.inf and high == math.inf:
            self.allowed = "a finite number" if ends == "()" else "a number"
        elif high == math.inf and right == ")":
            self.allowed = f"a finite number {'of at least' if left == '[' else 'above'} {low:g}"
        else:
            self.allowed = f"a number in {left}{low:g}, {high:g}{right}"
        around = (-math.inf, low - 1, low, high, high + 1, math.inf, math.nan)
        self.outside = [value for value in around if not self.has(value)]
        self.bad = [*self.outside, "0.5", None, True, 0.5j, [0.5]]
        self.good = next(value for value in (0.5, low + 1, high - 1) if self.has(value))

    def has(self, value):
        """Whether a number, or each of an array, lies in the interval."""
        above = value >= self.low if self.ends[0] == "[" else value > self.low
        below = value <= self.high if self.ends[1] == "]" else value < self.high
        return above & below

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
    """A whole number in a range; both ends are included."""

    def __init__(self, at_least=1, at_most=math.inf):
        self.at_least, self.at_most = at_least, at_most
        self.allowed = f"a whole number from {at_least} to {at_most}"
        if at_most == math.inf:
            self.allowed = f"a whole number of at least {at_least}"
        self.good = at_least
        self.bad = [at_least - 1, at_most + 1, float(at_least), math.nan, str(at_least), None, True]

    def check(self, value, name):
        if isinstance(value, bool) or not isinstance(value, numbers.Integral):
            self.refuse(value, name, TypeError)
        if not self.at_least <= value <= self.at_most:
            self.refuse(value, name)
        return int(value)


COUNT = Whole()


class OneOf(Kind):
    """One of some words, or of other values."""

    bad = ("no such choice", "", 17, ["a"])

    def __init__(self, *choices):
        self.choices = choices
        self.allowed = f"one of {', '.join(map(repr, choices))}"
        self.good = choices[0]

    def check(self, value, name):
        if not any(type(value) is type(choice) and value == choice for choice in self.choices):
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
    """A string of so many characters, blanks at its ends not counted."""

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
    """An object of a class, or of one of several; `make` makes one, for the tests."""

    def __init__(self, cls, allowed, make):
        self.cls, self.allowed, self.make = cls, allowed, make
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
    """Real numbers in an array.

    Each is of a kind, or NaN where `nan` says so: not measured. `empty`: there may be none.
    """

    def __init__(self, each=FINITE, ndim=None, empty=True, nan=False):
        self.each, self.ndim, self.empty, self.nan = each, ndim, empty, nan
        shape = "" if ndim is None else f" of {ndim} dimension{'s' * (ndim != 1)}"
        some = "" if empty else ", one at the least"
        self.allowed = f"an array{shape}{some}, each entry {each.allowed}{' or NaN' * nan}"
        if ndim == 0:
            self.allowed = each.allowed
        self.good = np.full((2,) * (1 if ndim is None else ndim), float(each.good))
        outside = [value for value in each.outside if not (nan and math.isnan(value))]
        self.bad = [*(np.full_like(self.good, value) for value in outside), "text", None, ["a"], 1j]
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
        inside = self.each.has(array) | (self.nan & np.isnan(array))
        if not inside.all():
            self.refuse(float(array[~inside].flat[0]), name)
        return array


NUMBERS = Numbers()
PROBABILITIES = Numbers(PROBABILITY)
VARIANCES = Numbers(NOT_NEGATIVE)


class Composed(Kind):
    """A value, or several, of another kind: what that one refuses is refused in words of this."""

    def __init__(self, kind, allowed, bad):
        self.kind, self.allowed, self.bad = kind, allowed, bad

    @property
    def good(self):
        return self.kind.good

    def convert(self, value, name):
        """Return the value, its parts checked by the other kind."""
        raise NotImplementedError

    def check(self, value, name):
        try:
            return self.convert(value, name)
        except (TypeError, ValueError) as error:
            return self.refuse(value, name, type(error))


class Optional(Composed):
    """None, or what another kind allows."""

    def __init__(self, kind):
        bad = [value for value in kind.bad if value is not None]
        super().__init__(kind, f"{kind.allowed}, or None", bad)

    def convert(self, value, name):
        return None if value is None else self.kind.check(value, name)


class Pair(Composed):
    """One value for both of two directions, or a pair of values."""

    def __init__(self, kind):
        bad = [*kind.bad, (kind.good,) * 3, (kind.good, "text")]
        super().__init__(kind, f"{kind.allowed}, or a pair of them", bad)

    def convert(self, value, name):
        # A ValueError where they are not two.
        first, second = value if isinstance(value, tuple | list) else (value, value)
        return self.kind.check(first, name), self.kind.check(second, name)


class Shape(Composed):
    """Sizes of an array's dimensions, or one number for one dimension."""

    def __init__(self):
        bad = [-1, (2, -1), 2.0, (2, 0.5), "2", None, True]
        super().__init__(Whole(0), "a whole number of at least 0, or a tuple of them", bad)

    def convert(self, value, name):
        sizes = value if isinstance(value, tuple | list) else (value,)
        return tuple(self.kind.check(size, name) for size in sizes)


SHAPE = Shape()


class Many(Composed):
    """A list, or another iterable, of so many items that another kind allows."""

    def __init__(self, kind, at_least=1):
        self.at_least = at_least
        bad = [None, 3, [], *([bad] for bad in kind.bad)]
        super().__init__(kind, f"a list of {at_least} or more, each {kind.allowed}", bad)

    @property
    def good(self):
        return [self.kind.good] * self.at_least

    def convert(self, value, name):
        if len(value) < self.at_least:
            raise ValueError
        return [self.kind.check(each, name) for each in value]

    def check(self, value, name):
        if isinstance(value, str) or not hasattr(value, "__iter__"):
            self.refuse(value, name, TypeError)
        return super().check(list(value), name)


def check_shapes(fit, allowed, **arrays):
    """Raise a ValueError that says the allowed shapes, and those of the arrays, unless they fit."""
    if not fit:
        names, plural = " and ".join(arrays), "s" * (len(arrays) > 1)
        got = " and ".join(str(tuple(array.shape)) for array in arrays.values())
        raise ValueError(f"{names} must have shape{plural} {allowed}, got {got}")


def declared(**kinds):
    """Decorate a function or a class with the kinds of its arguments, kept as ``declared``."""

    def decorate(target):
        is_class = isinstance(target, type)
        function = target.__init__ if is_class else target
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

        if is_class:
            target.__init__ = checked
        result = target if is_class else checked
        result.__doc__ = target.__doc__ and with_raises(target.__doc__, kinds)
        result.declared = kinds
        return result

    return decorate


HEADING = re.compile(r"^(Raises|Warns|See Also|Notes|References|Examples)\n-{3,}\n", re.M)


def with_raises(docstring, kinds):
    """Add to a docstring in numpydoc form, under *Raises*, what the declarations refuse."""
    docstring = inspect.cleandoc(docstring)
    refused = [f"    If `{name}` is not {kind.allowed}.\n" for name, kind in kinds.items()]
    entry = "".join(["TypeError, ValueError\n", *refused])
    heading = HEADING.search(docstring)
    if heading is None:
        return f"{docstring}\n\nRaises\n------\n{entry}"
    if heading[1] == "Raises":
        place, added = heading.end(), entry
    else:
        place, added = heading.start(), f"Raises\n------\n{entry}\n"
    return docstring[:place] + added + docstring[place:]
