"""Reuters-21578 as text: its stories, character by character."""

import html
import re
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.datasets import files
from lib.datasets.reuters import MEMBERS, MIRRORS, PATH, STORY, _element
from lib.datasets.splits import SEED
from lib.validation import COUNT, declared

CHARACTERS = "\n" + "".join(map(chr, range(32, 127)))  # a line break ends a story


class Text(NamedTuple):
    """Characters for training, for choosing, and for the final test.

    Integer tensors (n,): the place of each character in `CHARACTERS`.
    """

    train: Tensor
    val: Tensor
    test: Tensor


@declared(n_train=COUNT, n_val=COUNT, n_test=COUNT, seed=SEED)
def load_reuters_text(n_train, n_val=50_000, n_test=50_000, seed=0):
    """Newswire stories of 1987 as running text, with no story in two parts.

    Of Reuters-21578, Distribution 1.0: the bodies of all stories that have one, whatever their
    topic, each text once. Runs of blanks and line breaks are one blank; a line break ends a story.
    The one character that is not in `CHARACTERS`, an ü, is left out.
    Training and validation stories are drawn at random from those marked ``TRAIN``, 12,655 with
    some 10 million characters; test stories from those marked ``TEST``, which are of later days,
    5,412 with some 4 million.

    Parameters
    ----------
    n_train, n_val, n_test : int
        Numbers of characters; the last story of a part is cut off there.
    seed : int
        Which stories. For one seed, training texts of different lengths begin alike, and the
        validation and test texts do not depend on `n_train`.

    Returns
    -------
    Text

    Raises
    ------
    ValueError
        If there are not as many characters.

    References
    ----------
    D. D. Lewis, *Reuters-21578, Distribution 1.0* (1997); free for research only.

    Examples
    --------
    >>> text = load_reuters_text(1000)  # doctest: +SKIP
    >>> "".join(CHARACTERS[i] for i in text.train[:40])  # doctest: +SKIP
    """
    stories = _bodies(files.find(PATH, MIRRORS, MEMBERS))
    rng = np.random.default_rng(seed)
    order, tests = (rng.permutation(len(stories[part])) for part in ("TRAIN", "TEST"))
    train, used = _first(n_train, [stories["TRAIN"][i] for i in order], "n_train")
    rest = [stories["TRAIN"][i] for i in order[: used - 1 : -1]]  # from the end
    val, _ = _first(n_val, rest, "n_val")
    test, _ = _first(n_test, [stories["TEST"][i] for i in tests], "n_test")
    return Text(train, val, test)


def _first(n, stories, name):
    """The first n characters of stories, and how many stories these are."""
    ends = np.cumsum([len(story) for story in stories])
    if len(ends) == 0 or ends[-1] < n:
        most = int(ends[-1]) if len(ends) else 0
        raise ValueError(f"{name} must be at most {most}, the characters that are left, got {n}")
    used = int(np.searchsorted(ends, n)) + 1
    return torch.from_numpy(np.concatenate(stories[:used])[:n].astype(np.int64)), used


@cache
def _bodies(file):
    """By part, the bodies of its stories, each a place in `CHARACTERS` a character."""
    parts, seen = {"TRAIN": [], "TEST": []}, set()
    for _, content in sorted(files.read(file, PATH, MEMBERS).items()):
        for attributes, story in STORY.findall(content.decode("latin-1")):
            part = re.search(r'LEWISSPLIT="(.*?)"', attributes)[1]
            body = " ".join(html.unescape(_element("BODY", story)).split())
            if part in parts and body and body not in seen:
                seen.add(body)
                parts[part].append(_places(f"{body}\n"))
    return parts


def _places(text):
    """Places of a text's characters in `CHARACTERS`, those that are not among them left out."""
    codes = np.frombuffer(text.encode("ascii", "ignore"), np.uint8)
    codes = codes[(codes == ord("\n")) | ((codes >= 32) & (codes < 127))]
    return np.where(codes == ord("\n"), 0, codes - 31).astype(np.uint8)
