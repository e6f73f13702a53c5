"""A claim is shown where it holds, and is an error of the build where it does not."""

import numpy as np
import pytest
import torch

from lib import claims
from lib.claims import claim


@pytest.fixture
def shown(monkeypatch):
    """What was displayed."""
    verdicts = []
    monkeypatch.setattr(claims, "display", verdicts.append)
    return verdicts


TRUE = [True, np.True_, [True, True], np.ones((2, 3), bool), torch.tensor([True, True])]
FALSE = [
    *(False, np.False_, [True, False], np.eye(2, dtype=bool), torch.tensor(False)),
    np.array([0.1, np.nan]) < 0.2,  # a comparison with NaN does not hold
]


@pytest.mark.parametrize("holds", TRUE, ids=repr)
def test_what_holds_is_shown_with_a_check_mark(shown, holds):
    claim("masks are fresh", holds)
    assert [repr(verdict) for verdict in shown] == ["✓ masks are fresh"]


@pytest.mark.parametrize("holds", FALSE, ids=repr)
def test_in_the_build_what_does_not_hold_is_an_error_that_says_it(shown, holds):
    with pytest.raises(AssertionError, match="masks are fresh"):
        claim("masks are fresh", holds)
    assert not shown


@pytest.mark.parametrize("holds", FALSE, ids=repr)
def test_a_reader_sees_what_no_longer_holds(shown, holds, monkeypatch):
    monkeypatch.delenv(claims.STRICT)
    claim("masks are fresh", holds)
    assert [repr(verdict) for verdict in shown] == ["✗ does not hold here: masks are fresh"]


def test_on_a_page_it_is_a_line_that_can_be_linked_to(shown):
    claim("p < 1 & q > 0", True)
    html = shown[0]._repr_html_()
    assert f'id="{claims.anchor("p < 1 & q > 0")}"' in html
    assert "p &lt; 1 &amp; q &gt; 0</p>" in html
