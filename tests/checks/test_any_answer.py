"""Whatever a student's function does, its check answers with a sentence, not with a traceback."""

import inspect
import math

import numpy as np
import pytest
import torch

from lib import checks

PARTS = [getattr(checks, name) for name in checks.__all__]
CHECKS = [
    pytest.param(check, id=f"{part.__name__.rpartition('.')[2]}.{name}")
    for part in PARTS
    for name, check in inspect.getmembers(part, inspect.isfunction)
    if list(inspect.signature(check).parameters) == ["student"]
    if check.__module__ == part.__name__ and not name.startswith("_")
]


def refuse(*args):
    raise NotImplementedError


def fail(*args):
    return 1 / 0


@pytest.mark.filterwarnings("ignore::RuntimeWarning", "ignore::UserWarning")
@pytest.mark.parametrize("check", CHECKS)
@pytest.mark.parametrize(
    ("answer", "message"),
    [
        (refuse, "refuse is not written yet"),
        (fail, r"fail\(.*\) raised ZeroDivisionError: division by zero"),
        (lambda *args: None, "returned None"),
        (lambda a, b, c, d, e, f, g, h: 3, "raised TypeError"),
        (None, "without parentheses"),
        (np.ones(3), "without parentheses"),
        (lambda *args: "0.5", "."),
        (lambda *args: [], "."),
        (lambda *args: [[1, 2], [3]], "."),
        (lambda *args: np.full((400, 50), np.nan), "."),
        (lambda *args: np.full(4, np.nan), "."),
        (lambda *args: np.array(["a"]), "."),
        (lambda *args: {}, "."),
        (lambda *args: 1j, "."),
        (lambda *args: (None, None), "."),
        (lambda *args: (None, None, None), "."),
        (lambda *args: (math.nan,) * 4, "."),
        (lambda *args: math.nan, "."),
        (lambda *args: 0.0, "."),
        (lambda *args: torch.ones(200, 4, dtype=torch.complex64), "."),
    ],
)
def test_any_answer_gets_a_friendly_message(check, answer, message):
    with pytest.raises(AssertionError, match=message) as caught:
        check(answer)
    assert str(caught.value).strip()
    assert len(str(caught.value)) < 400
