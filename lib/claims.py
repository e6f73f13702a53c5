"""A sentence tied to the condition under which it is true."""

import hashlib
import html
import os

import numpy as np
from IPython.display import display

from lib.validation import Kind, Text, declared

__all__ = ["claim"]

STRICT = "DROPOUT_STRICT_CLAIMS"  # set by the build and the tests: a false claim is an error there


class Truth(Kind):
    """Whether something holds, once or many times: an array of booleans that is not empty."""

    allowed = "True or False, or an array of them that is not empty"
    good = True
    bad = (None, 1, 0.3, "yes", [1, 0], [], np.zeros((0, 3), bool))

    def check(self, value, name):
        holds = np.asarray(value)
        if holds.dtype != bool or holds.size == 0:
            self.refuse(value, name, ValueError if holds.size == 0 else TypeError)
        return bool(holds.all())


@declared(sentence=Text(at_least=1), holds=Truth())
def claim(sentence, holds):
    """State what the numbers show, and check that they show it.

    Where it holds, the sentence is shown with a check mark. A reader who changed a number sees
    what no longer holds, and goes on; for the build and the tests that is an AssertionError.

    Parameters
    ----------
    sentence : str
        The statement, in words. It names no number that differs from run to run.
    holds : bool or array_like of bool
        The condition: every entry.

    Examples
    --------
    >>> claim("half of the units are kept, on average", abs(0.498 - 0.5) < 0.01)
    ✓ half of the units are kept, on average
    """
    if not holds and os.environ.get(STRICT):
        raise AssertionError(sentence)
    display(Verdict(sentence, holds))


class Verdict:
    """How a claim is shown: a line of text, and on a page a line that can be linked to."""

    def __init__(self, sentence, holds):
        self.text = f"✓ {sentence}" if holds else f"✗ does not hold here: {sentence}"
        self.kind = "claim" if holds else "claim claim-fails"
        self.anchor = anchor(sentence)

    def __repr__(self):
        return self.text

    def _repr_html_(self):
        mark, words = self.text.split(" ", 1)
        return (
            f'<p class="{self.kind}" id="{self.anchor}">'
            f'<span class="claim-mark">{mark}</span> {html.escape(words)}</p>'
        )


def anchor(sentence):
    """Name of the place on a page where a claim stands: the same for the same sentence."""
    return f"claim-{hashlib.sha256(sentence.encode()).hexdigest()[:8]}"
