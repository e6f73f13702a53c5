"""What the tests of the checks share: answers of students, and what they are told."""

import pytest


def cases(part, exercises):
    """One case an answer, from a dict of exercises to pairs of answer and message."""
    return [
        pytest.param(getattr(part, exercise), answer, message, id=f"{exercise}-{number}")
        for exercise, answers in exercises.items()
        for number, (answer, message) in enumerate(answers)
    ]


def shifted(answer, by):
    """The same answer with other random numbers: some of its generator's are thrown away first."""

    def later(*arguments):
        arguments[-1].random(by)
        return answer(*arguments)

    return later


def assert_told(check, answer, message, capsys):
    """A right answer (no `message`) gets one line; a wrong one its message, and not a long one."""
    if message is None:
        check(answer)
        assert capsys.readouterr().out.startswith(f"{check.__name__}: ")
    else:
        with pytest.raises(AssertionError, match=message) as caught:
            check(answer)
        assert capsys.readouterr().out == ""
        assert len(str(caught.value)) < 400
