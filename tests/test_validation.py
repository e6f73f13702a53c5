"""What holds for the checks of arguments: they pass what is right, and name what is wrong."""

import re
from fractions import Fraction

import numpy as np
import pytest
from chance import NOT_A_NUMBER, NOT_IN_RANGE, few_examples
from hypothesis import given
from hypothesis import strategies as st

from lib.validation import (
    check_choice,
    check_count,
    check_finite,
    check_generator,
    check_keep_prob,
    check_positive,
    check_unit_interval,
)


@few_examples
@given(keep_prob=st.floats(min_value=0, max_value=1, exclude_min=True))
def test_every_keep_prob_above_zero_and_up_to_one_passes_unchanged(keep_prob):
    assert check_keep_prob(keep_prob) == keep_prob


@pytest.mark.parametrize("keep_prob", [1, 0.5, np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_a_keep_prob_of_any_kind_of_real_number_comes_back_as_a_float(keep_prob):
    assert type(check_keep_prob(keep_prob)) is float


@pytest.mark.parametrize("keep_prob", NOT_IN_RANGE)
def test_a_keep_prob_out_of_range_is_a_value_error(keep_prob):
    with pytest.raises(ValueError, match=re.escape(f"rate must lie in (0, 1], got {keep_prob!r}")):
        check_keep_prob(keep_prob, name="rate")


@pytest.mark.parametrize("keep_prob", [*NOT_A_NUMBER, np.array(0.5), np.True_])
def test_a_keep_prob_of_another_type_is_a_type_error(keep_prob):
    message = f"rate must be a real number in (0, 1], got {keep_prob!r} of type "
    with pytest.raises(TypeError, match=re.escape(message)):
        check_keep_prob(keep_prob, name="rate")


@pytest.mark.parametrize("value", [1, 7, np.int64(3), np.uint8(3)])
def test_a_whole_number_in_range_comes_back_as_an_int(value):
    checked = check_count(value, "n", at_least=1, at_most=7)
    assert type(checked) is int
    assert checked == value


@pytest.mark.parametrize("value", [0, 8, -1, 10**30])
def test_a_whole_number_out_of_range_is_a_value_error(value):
    with pytest.raises(ValueError, match=f"n must be from 1 to 7, got {value}"):
        check_count(value, "n", at_least=1, at_most=7)


def test_a_range_without_end_says_where_it_begins():
    assert check_count(10**30, "n") == 10**30
    with pytest.raises(ValueError, match="n must be at least 1, got 0"):
        check_count(0, "n")


@pytest.mark.parametrize("value", [1.0, "1", None, True, float("nan"), np.float64(2), np.True_])
def test_no_whole_number_is_a_type_error(value):
    message = f"n must be a whole number at least 1, got {value!r} of type "
    with pytest.raises(TypeError, match=re.escape(message)):
        check_count(value, "n")


@few_examples
@given(value=st.floats(min_value=0, exclude_min=True, allow_infinity=False))
def test_every_positive_finite_number_passes_unchanged(value):
    assert check_positive(value, "step") == value


@pytest.mark.parametrize("value", [0, -1.0, float("inf"), float("nan")])
def test_a_number_that_is_not_positive_and_finite_is_a_value_error(value):
    with pytest.raises(ValueError, match=f"step must be positive and finite, got {value!r}"):
        check_positive(value, "step")


@pytest.mark.parametrize("value", ["1", None, True, 1j])
def test_a_positive_number_of_another_type_is_a_type_error(value):
    message = f"step must be a positive number, got {value!r} of type "
    with pytest.raises(TypeError, match=re.escape(message)):
        check_positive(value, "step")


@few_examples
@given(value=st.floats(min_value=0, max_value=1, exclude_min=True, exclude_max=True))
def test_every_number_strictly_between_zero_and_one_passes_unchanged(value):
    assert check_unit_interval(value, "share") == value


@pytest.mark.parametrize("value", [np.float32(0.5), np.float64(0.5), Fraction(1, 2)])
def test_a_share_of_any_kind_of_real_number_comes_back_as_a_float(value):
    assert type(check_unit_interval(value, "share")) is float


@pytest.mark.parametrize("value", [*NOT_IN_RANGE, 1, 1.0, 95])
def test_a_number_that_is_not_strictly_between_zero_and_one_is_a_value_error(value):
    with pytest.raises(ValueError, match=re.escape(f"share must lie in (0, 1), got {value!r}")):
        check_unit_interval(value, "share")


@pytest.mark.parametrize("value", [*NOT_A_NUMBER, np.array(0.5), np.True_])
def test_a_share_of_another_type_is_a_type_error(value):
    message = f"share must be a number in (0, 1), got {value!r} of type {type(value).__name__}"
    with pytest.raises(TypeError, match=re.escape(message)):
        check_unit_interval(value, "share")


def test_a_choice_passes_and_anything_else_is_a_value_error_with_the_choices():
    assert check_choice("red", "colour", ("red", "blue")) == "red"
    for value in ("Red", "", None, 1, ["red"]):
        message = f"colour must be one of 'red', 'blue', got {value!r}"
        with pytest.raises(ValueError, match=re.escape(message)):
            check_choice(value, "colour", ("red", "blue"))


@pytest.mark.parametrize("bits", [np.random.PCG64, np.random.Philox])
def test_a_generator_passes_as_it_is_and_draws_nothing(bits):
    rng, same = (np.random.Generator(bits(0)) for _ in range(2))
    assert check_generator(rng) is rng
    assert rng.random() == same.random()


@pytest.mark.parametrize(
    "rng",
    [None, 0, "0", np.random, np.random.RandomState(0), np.random.PCG64(0)],  # noqa: NPY002
)
def test_no_generator_is_a_type_error_that_says_how_to_make_one(rng):
    message = (
        f"rng must be a numpy.random.Generator, such as numpy.random.default_rng(0), got {rng!r}"
    )
    with pytest.raises(TypeError, match=re.escape(message)):
        check_generator(rng)


def test_finite_numbers_come_back_as_an_array_of_floats():
    got = check_finite([[1, 2], [3, 4]], "mean")
    assert got.dtype == float
    np.testing.assert_array_equal(got, [[1, 2], [3, 4]])
    assert check_finite([], "mean").shape == (0,)
    assert check_finite(0, "variance", at_least=0) == 0


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
def test_a_number_that_is_not_finite_is_a_value_error(bad):
    for values in (bad, [1.0, bad]):
        with pytest.raises(ValueError, match=re.escape(f"mean must be finite, got {bad!r}")):
            check_finite(values, "mean")


@pytest.mark.parametrize("bad", [-1e-9, np.nan, np.inf])
def test_a_number_below_the_smallest_allowed_is_a_value_error(bad):
    with pytest.raises(ValueError, match=f"variance must be at least 0 and finite, got {bad}"):
        check_finite([1.0, bad], "variance", at_least=0)
