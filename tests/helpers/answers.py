"""What the tests of the checks share: which idea an answer is told."""

import contextlib
import io
import re

import pytest

from lib.checks.engine import Missed


def idea_of(check, answer, seed=0):
    """The name of the idea that an answer missed, or None: without the exercise's."""
    with contextlib.redirect_stdout(io.StringIO()) as said:
        try:
            check(answer, seed)
            return None
        except Missed as error:
            missed = error
    assert said.getvalue() == ""
    assert 0 < len(str(missed)) < 400
    assert "{" not in str(missed)
    return missed.idea.removeprefix(f"{check.__name__}/")


def assert_told(check, answer, message):
    """A wrong answer gets its message, and not a long one."""
    with pytest.raises(Missed, match=message) as caught:
        check(answer)
    assert re.search(r"\w", str(caught.value))
    assert len(str(caught.value)) < 400
