"""What holds for progress bars."""

import pytest

from lib.progress import progress, silent


def shows_a_bar():
    items = range(3)
    return progress(items, "counting") is not items


def test_a_bar_gives_the_same_items():
    assert list(progress(range(5), "counting")) == [0, 1, 2, 3, 4]


def test_inside_silent_there_are_no_bars_and_afterwards_there_are_again():
    with silent():
        assert not shows_a_bar()
        with silent():
            pass
        assert not shows_a_bar()
    assert shows_a_bar()


def test_after_an_exception_inside_silent_there_are_bars_again():
    with pytest.raises(RuntimeError), silent():
        raise RuntimeError
    assert shows_a_bar()
