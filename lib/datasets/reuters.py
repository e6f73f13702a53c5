"""Reuters-21578: newswire stories and their topics."""

import html
import re
from functools import cache

import numpy as np
import torch
from sklearn.feature_extraction.text import CountVectorizer

from lib.datasets import files
from lib.datasets.splits import SEED, Split, stratified_order
from lib.validation import Whole, declared

PATH = "reuters21578/reuters21578.tar.gz"
MIRRORS = (
    "https://archive.ics.uci.edu/ml/machine-learning-databases/reuters21578-mld/"
    "reuters21578.tar.gz",
    "http://kdd.ics.uci.edu/databases/reuters21578/reuters21578.tar.gz",
    "http://www.daviddlewis.com/resources/testcollections/reuters21578/reuters21578.tar.gz",
)
MEMBERS = "*.sgm"
N_TRAIN, N_TOPICS, N_WORDS = 6532, 52, 23_477
STORY = re.compile(r"<REUTERS ([^>]*)>(.*?)</REUTERS>", re.DOTALL)


@declared(n_val=Whole(0, N_TRAIN - N_TOPICS), n_words=Whole(1, N_WORDS), seed=SEED)
def load_reuters(n_val=0, n_words=2000, seed=0):
    """Newswire stories of 1987 as counts of words, each with its one topic of 52.

    Of Reuters-21578, Distribution 1.0, the ModApte split: stories with ``TOPICS="YES"``, marked
    ``TRAIN`` or ``TEST``. Of these, the stories with exactly one topic, and the topics with a story
    in both parts: 6,532 training stories, 2,568 test stories and 52 topics, often called R52.

    The words are those of title and body, or of all the text of 48 stories that have neither: two
    letters or digits at least, in lower case, without scikit-learn's English stop words. The
    vocabulary is of all 6,532, those for validation included, whatever `n_val` and `seed` are.

    Parameters
    ----------
    n_val : int
        Number of validation stories, taken at random from the training stories with the topics in
        proportion. One story of each topic always stays for training: the rarest has no other.
    n_words : int
        Number of words: the most frequent, and of equally frequent ones the first in the alphabet.
    seed : int
        Which validation stories.

    Returns
    -------
    Split
        Inputs (n, n_words), float32: log(1 + count) of each word, the most frequent first. Labels
        (n,), int64: the topic's place in `reuters_topics`. Test stories are in their order.

    References
    ----------
    D. D. Lewis, *Reuters-21578, Distribution 1.0* (1997); free for research only.

    A. Cardoso-Cachopo, *Improving methods for single-label text categorization*, PhD thesis,
    Universidade Técnica de Lisboa (2007): R52.
    """
    _, counts, labels = _counts(files.find(PATH, MIRRORS, MEMBERS))
    order = stratified_order(labels[:N_TRAIN], seed)
    _, first = np.unique(labels[order], return_index=True)
    order = np.concatenate([order[first], np.delete(order, first)])
    parts = []
    for rows in (order[: N_TRAIN - n_val], order[N_TRAIN - n_val :], slice(N_TRAIN, None)):
        words = torch.tensor(counts[rows, :n_words].toarray(), dtype=torch.float32)
        parts += [words.log1p_(), torch.tensor(labels[rows])]
    return Split(*parts)


def reuters_topics():
    """The 52 topics of `load_reuters`, a tuple of str, in the order of its labels: alphabetical."""
    return _counts(files.find(PATH, MIRRORS, MEMBERS))[0]


@cache
def _counts(file):
    """The topics; counts of all words (sparse) and labels, training stories first."""
    train, test = _stories(file)
    topics = tuple(sorted({topic for topic, _ in train} & {topic for topic, _ in test}))
    train, test = ([story for story in part if story[0] in topics] for part in (train, test))

    vectorizer = CountVectorizer(stop_words="english", dtype=np.int32)
    vectorizer.fit(text for _, text in train)
    counts = vectorizer.transform(text for _, text in train + test)
    totals = counts[: len(train)].sum(axis=0).A1
    counts = counts[:, np.argsort(-totals, kind="stable")]  # the columns are in alphabetical order
    labels = np.array([topics.index(topic) for topic, _ in train + test])
    return topics, counts, labels


def _stories(file):
    """Topic and text of each story with one topic: of the training part, and of the test part."""
    parts = {"TRAIN": [], "TEST": []}
    for _, content in sorted(files.read(file, PATH, MEMBERS).items()):
        for attributes, story in STORY.findall(content.decode("latin-1")):
            part = dict(re.findall(r'(\w+)="(.*?)"', attributes))
            topics = re.findall(r"<D>(.*?)</D>", _element("TOPICS", story))
            if part["TOPICS"] == "YES" and part["LEWISSPLIT"] in parts and len(topics) == 1:
                parts[part["LEWISSPLIT"]].append((topics[0], _text(story)))
    return parts["TRAIN"], parts["TEST"]


def _text(story):
    """Title and body, or all text where there is neither; `unescape` drops control characters."""
    text = f"{_element('TITLE', story)}\n{_element('BODY', story)}".strip()
    return html.unescape(text or _element("TEXT", story))


def _element(name, story):
    """What is between an element's tags; empty if it is not there."""
    found = re.search(f"<{name}[^>]*>(.*?)</{name}>", story, re.DOTALL)
    return found[1] if found else ""
