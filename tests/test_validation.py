"""What holds for declared arguments: what is right passes, and what is wrong is named."""

import inspect
import re
from fractions import Fraction

import numpy as np
import pytest
import torch

from lib.validation import (
    COUNT,
    FINITE,
    GENERATOR,
    NOT_NEGATIVE,
    PATH,
    POSITIVE,
    PROBABILITY,
    SHAPE,
    SHARE,
    Flag,
    Function,
    Many,
    Numbers,
    OneOf,
    Optional,
    Pair,
    Real,
    Text,
    Whole,
    declared,
)

KINDS = [
    *(PROBABILITY, SHARE, POSITIVE, NOT_NEGATIVE, FINITE, Real(0, 1, "()"), Real(-1, ends="[]")),
    *(COUNT, Whole(0, 3), OneOf("red", "blue"), OneOf(1, 2), Flag(), GENERATOR, Function(), SHAPE),
    *(Numbers(), Numbers(POSITIVE, ndim=2), Numbers(SHARE, empty=False), Numbers(ndim=0)),
    *(Numbers(SHARE, nan=True), Text(), Text(1), Text(40), PATH),
    *(Optional(COUNT), Optional(PROBABILITY), Pair(COUNT), Many(COUNT), Many(FINITE, at_least=2)),
]
CASES = [(kind, value) for kind in KINDS for value in kind.bad]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.allowed)
def test_what_is_good_passes(kind):
    kind.check(kind.good, "x")


@pytest.mark.parametrize(
    ("kind", "value"), CASES, ids=lambda x: getattr(x, "allowed", repr(x)[:20])
)
def test_what_is_bad_is_an_error_of_one_form(kind, value):
    with pytest.raises((TypeError, ValueError), match=re.escape(f"x must be {kind.allowed}, got ")):
        kind.check(value, "x")


MESSAGES = {
    "a number in (0, 1], got 1.5": (PROBABILITY, 1.5),
    "a number in (0, 1], got '0.5' of type str": (PROBABILITY, "0.5"),
    "a finite number above 0, got 0": (POSITIVE, 0),
    "a finite number of at least 0, got inf": (NOT_NEGATIVE, float("inf")),
    "a finite number, got nan": (FINITE, float("nan")),
    "a whole number of at least 1, got 0": (COUNT, 0),
    "a whole number from 1 to 20, got 21": (Whole(1, 20), 21),
    "a whole number from 1 to 20, got True of type bool": (Whole(1, 20), True),
    "one of 'red', 'blue', got 'Red'": (OneOf("red", "blue"), "Red"),
    "one of 1, 2, got True": (OneOf(1, 2), True),
    "a whole number of at least 1, or None, got 0": (Optional(COUNT), 0),
    "a whole number of at least 1, or a pair of them, got (2, 0)": (Pair(COUNT), (2, 0)),
    "an array, each entry a finite number above 0, got -2.0": (Numbers(POSITIVE), [1, -2]),
}


@pytest.mark.parametrize(("message", "case"), MESSAGES.items(), ids=MESSAGES)
def test_messages(message, case):
    kind, value = case
    with pytest.raises((TypeError, ValueError), match=f"^x must be {re.escape(message)}$"):
        kind.check(value, "x")


def test_a_large_value_is_named_by_its_shape():
    with pytest.raises(TypeError, match=r"got ndarray of shape \(50, 60\) and <U1"):
        Numbers().check(np.full((50, 60), "a"), "x")
    with pytest.raises(TypeError, match=r"got Tensor of shape \(50, 60\) and torch.float32"):
        PROBABILITY.check(torch.ones(50, 60), "x")


REALS = [1, 0.5, 5e-324, np.float32(0.5), np.float64(0.5), Fraction(1, 2)]
WHOLES = [1, 7, np.int64(3), np.uint8(3)]


@pytest.mark.parametrize(
    ("kind", "python_type", "value"),
    [*((PROBABILITY, float, x) for x in REALS), *((COUNT, int, x) for x in WHOLES)],
)
def test_a_number_of_any_type_comes_back_as_pythons_own(kind, python_type, value):
    checked = kind.check(value, "x")
    assert type(checked) is python_type
    assert checked == value


@pytest.mark.parametrize("value", [[1, 2], (1.5,), np.float32(2), torch.ones(2, 3), [[True]], 3])
def test_numbers_come_back_as_an_array_of_floats(value):
    got = Numbers().check(value, "x")
    assert got.dtype == float
    assert got.shape == np.shape(value)


def test_the_array_that_comes_back_is_not_the_callers_own():
    given_array = np.ones(3)
    Numbers().check(given_array, "x")[0] = 5
    assert given_array[0] == 1


def test_items_may_come_one_by_one():
    assert Many(COUNT).check(iter([1, np.int64(2)]), "x") == [1, 2]


def test_a_generator_passes_as_it_is_and_draws_nothing():
    rng, same = (np.random.default_rng(0) for _ in range(2))
    assert GENERATOR.check(rng, "rng") is rng
    assert rng.random() == same.random()


# The decorator


@declared(keep_prob=PROBABILITY, n=Optional(COUNT))
def example(x, keep_prob=0.5, *, n=None):
    """Do something.

    Parameters
    ----------
    x : object
    keep_prob : float
    n : int, optional

    References
    ----------
    Nobody.
    """
    return x, keep_prob, n


@declared(keep_prob=PROBABILITY)
class Example:
    """Be something.

    Raises
    ------
    RuntimeError
        If it rains.
    """

    def __init__(self, keep_prob=0.5):
        self.keep_prob = keep_prob


def test_the_body_gets_the_converted_values():
    assert example("x", np.float32(0.5), n=np.int8(3)) == ("x", 0.5, 3)
    assert type(example("x", np.float32(0.5))[1]) is float
    assert example("x") == example("x", n=None) == ("x", 0.5, None)
    assert Example(1).keep_prob == 1.0


@pytest.mark.parametrize(
    "call", [lambda: example(1, 2), lambda: example(1, keep_prob=2), lambda: Example(2)]
)
def test_a_bad_value_never_reaches_the_body(call):
    with pytest.raises(ValueError, match=r"keep_prob must be a number in \(0, 1\], got 2"):
        call()


def test_the_signature_stays():
    assert str(inspect.signature(example)) == "(x, keep_prob=0.5, *, n=None)"
    assert str(inspect.signature(Example)) == "(keep_prob=0.5)"
    with pytest.raises(TypeError, match="missing a required argument: 'x'"):
        example()


def test_the_docstring_says_what_is_refused_before_the_references():
    doc = inspect.getdoc(example)
    assert doc.index(
        "Raises\n------\nTypeError, ValueError\n    If `keep_prob` is not a number"
    ) < doc.index("References")
    assert "If `n` is not a whole number of at least 1, or None." in doc
    doc = inspect.getdoc(Example)
    assert doc.count("Raises") == 1
    assert doc.index("keep_prob") < doc.index("RuntimeError")


def test_a_declaration_of_no_argument_is_an_error_at_once():
    with pytest.raises(TypeError, match="has no argument keepprob"):
        declared(keepprob=PROBABILITY)(lambda keep_prob: None)
