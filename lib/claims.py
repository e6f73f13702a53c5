"""A sentence tied to the condition under which it is true."""

import hashlib
import html
import os

import numpy as np
from IPython.display import display

STRICT = "DROPOUT_STRICT_CLAIMS"  # set by the build and the tests: a false claim is an error there


def claim(sentence, holds):
    """State what the numbers show, and check that they show it.

    Where it holds, the sentence is shown with a check mark. Where it does not, the build and the
    tests stop with an error; a reader who changed a number sees what no longer holds, and goes on.

    Parameters
    ----------
    sentence : str
        The statement, in words. It names no number that differs from run to run.
    holds : bool or array_like of bool
        The condition; of an array or a tensor, every entry.

    Raises
    ------
    TypeError
        If `sentence` is not a string, or `holds` not made of booleans.
    ValueError
        If `sentence` is blank, or `holds` has no entries: such a claim could not fail.
    AssertionError
        If it does not hold, in the build and in the tests.

    Examples
    --------
    >>> claim("half of the units are kept, on average", abs(0.498 - 0.5) < 0.01)
    ✓ half of the units are kept, on average
    """
    if not isinstance(sentence, str):
        raise TypeError(f"sentence must be a string, got {sentence!r}")
    if not sentence.strip():
        raise ValueError(f"sentence must say something, got {sentence!r}")
    holds = np.asarray(holds)
    if holds.dtype != bool:
        raise TypeError(f"holds must be true or false, one or many, got {holds!r}")
    if holds.size == 0:
        raise ValueError(f"holds must have at least one entry, got shape {holds.shape}")
    if not holds.all() and os.environ.get(STRICT):
        raise AssertionError(sentence)
    display(Verdict(sentence, bool(holds.all())))


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
