"""Each exercise's table holds: right answers pass, each wrong one is told which idea it missed."""

import importlib
import inspect
import math
import re

import numpy as np
import pytest
import torch
from answers import assert_told, idea_of

from lib import checks
from lib.checks.engine import EXERCISES

RIGHT, UNLISTED = {}, {}
for part in checks.__all__:  # answers in other styles, and wrong ones that no table has
    answers = importlib.import_module(f"answers_{part}")
    RIGHT |= answers.RIGHT
    UNLISTED |= answers.UNLISTED

EVERY = [pytest.param(each, id=name) for name, each in EXERCISES.items()]


def of_all(answers):
    return [
        pytest.param(
            EXERCISES[name], *(each if isinstance(each, tuple) else (each,)), id=f"{name}-{i}"
        )
        for name, some in answers.items()
        for i, each in enumerate(some)
    ]


WRONG = [
    pytest.param(each, wrong.answer, wrong.name, id=f"{name}-{i}-{wrong.name}")
    for name, each in EXERCISES.items()
    for i, wrong in enumerate(each.table)
]


def test_every_exercise_has_answers_in_other_styles():
    assert set(RIGHT) == set(EXERCISES)
    assert all(len(answers) >= 3 for answers in RIGHT.values())
    assert set(UNLISTED) <= set(EXERCISES)


@pytest.mark.parametrize("seed", range(3))
@pytest.mark.parametrize("check", EVERY)
def test_the_right_answer_passes(check, seed, capsys):
    check(check.right, seed)
    assert capsys.readouterr().out.startswith(f"{check.__name__}: ")


@pytest.mark.parametrize(("check", "answer"), of_all(RIGHT))
def test_a_right_answer_in_another_style_passes(check, answer):
    for seed in (0, 1):
        check(answer, seed)


@pytest.mark.parametrize("check", [each for each in EVERY if "rng" in each.values[0].arguments])
def test_no_false_alarm(check):
    """A right answer passes however its random numbers fall."""
    place = check.arguments.index("rng")
    for extra in np.random.default_rng(len(check.__name__)).integers(1, 1000, 10):

        def later(*arguments, extra=extra):
            if dict(zip(check.arguments, arguments, strict=True)).get("phase") != "test":
                arguments[place].random(extra)  # nothing is drawn at test
            return check.right(*arguments)

        check(later)


@pytest.mark.parametrize(("check", "answer", "name"), WRONG)
def test_a_wrong_answer_is_told_its_idea(check, answer, name):
    for seed in (0, 1):
        assert idea_of(check, answer, seed) == name


@pytest.mark.parametrize(("check", "answer", "name"), of_all(UNLISTED))
def test_a_wrong_answer_that_no_table_has_is_told_what_is_off(check, answer, name):
    for seed in (0, 1):
        assert re.fullmatch(name, idea_of(check, answer, seed))


def test_names_of_ideas_are_plain_and_have_one_sentence():
    for check in EXERCISES.values():
        sentences = {}
        for wrong in check.table:
            assert re.fullmatch(r"[a-z0-9]+(-[a-z0-9_]+)*", wrong.name)
            assert sentences.setdefault(wrong.name, wrong.sentence) == wrong.sentence


def refuse(*args):
    raise NotImplementedError


def fail(*args):
    return 1 / 0


ANY = [
    (refuse, "refuse is not written yet"),
    (fail, r"fail\(.*\) raised ZeroDivisionError: division by zero"),
    (lambda *args: None, "returned None"),
    (lambda a, b, c, d, e, f, g, h: 3, "raised TypeError"),
    (None, "without parentheses"),
    (np.ones(3), "without parentheses"),
    *(
        (lambda *args, value=value: value, ".")
        for value in (
            *("0.5", [], [[1, 2], [3]], np.full((400, 50), np.nan), np.full(4, np.nan)),
            *(np.array(["a"]), {}, 1j, (None, None), (None, None, None), (math.nan,) * 4),
            *(math.nan, 0.0, torch.ones(200, 4, dtype=torch.complex64)),
        )
    ),
]


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("check", EVERY)
def test_any_answer_gets_a_friendly_message(check):
    for answer, message in ANY:
        assert_told(check, answer, message)


def test_the_student_sees_the_sentence_and_the_line_of_their_own():
    with pytest.raises(AssertionError) as caught:
        checks.idea.batch_mask(fail)
    sentence, line, name = caught.value._render_traceback_()
    assert sentence.endswith("raised ZeroDivisionError: division by zero")
    assert line == "Your line: return 1 / 0"
    assert name == "[batch_mask/raises]"


def test_a_part_says_what_is_done(capsys):
    checks.idea.batch_mask(checks.idea.batch_mask.right)
    idea_of(checks.idea.steps_needed, lambda keep_prob, confidence: 0)
    capsys.readouterr()
    checks.idea.summary()
    said = capsys.readouterr().out
    assert "✓ batch_mask\n" in said
    assert "✗ steps_needed: steps_needed/" in said


def test_parts_have_the_exercises_and_a_summary():
    for part in checks.__all__:
        module = getattr(checks, part)
        assert inspect.isfunction(module.summary)
        assert any(each.part == part for each in EXERCISES.values())
