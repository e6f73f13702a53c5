"""What the text of a page quotes from a table of results is computed from the table.

A quote is a phrase with gaps, and what fills them. Filled, it must stand on its page.
"""

import re
from functools import cache

import numpy as np
import pytest
from repository import NOTEBOOKS, ROOT, markdown_of, name, read

from lib.comparison import paired_difference
from lib.experiments import compare, read_results, select
from lib.experiments.effects import at_its_best
from lib.theory.variance_shift import shift_ratio

GAP = re.compile(r"\{[^{}]*\}")
LINK = re.compile(r"\[[^\[\]]*\d[^\[\]]*\]\([\w./]*results-[\w-]+\)")

table = cache(read_results)
best = cache(at_its_best)


def mean(rows, metric, **side):
    return select(rows, **side)[metric].mean()


def change(experiment, metric, ours, baseline, by=None):
    """The verdict, and the means of the baseline and of ours; errors in per cent."""
    rows, scale = best(experiment, by=by), 100 if metric.startswith(("test_error", "error")) else 1
    means = [scale * mean(rows, metric, **side) for side in (baseline, ours)]
    return compare(rows, metric, ours, baseline).verdict, *means


def mnist(n_train, metric):
    masks, none = ({"keep_hidden": h, "keep_input": i} for h, i in ((0.5, 0.8), (1.0, 1.0)))
    size = {"n_train": n_train}
    return change("mnist-size", metric, size | masks, size | none)


def mnist_net(keep_hidden, keep_input, max_norm=np.inf, noise="bernoulli"):
    masks = {"keep_hidden": keep_hidden, "keep_input": keep_input}
    return {"noise": noise, **masks, "max_norm": max_norm}


def on_mnist(*nets):
    verdict, *_ = change("mnist-error", "test_error", *nets)
    return [verdict]


def digits(metric):
    """On 300 digits, masks in both layers; the error chosen by the error, the loss by the loss."""
    sides = ({"cap": 300, "masked": masked} for masked in ("both layers", "none"))
    return change("digits-compared", metric, *sides, by=metric.replace("test", "val"))


def digits_rate(masked):
    return select(best("digits-compared", by="val_error"), cap=300, masked=masked)["rate"].iloc[0]


def regression(*keep_probs, **rows):
    """Of how many networks of 4,000 epochs the search chose one of these, and of how many."""
    chosen = select(table("uci-mc-dropout"), epochs=4000, **rows)["keep_prob"]
    return chosen.isin(keep_probs).sum(), len(chosen)


def errors_by_keep_prob():
    rows = select(table("mnist-rate"), held="units")
    return 100 * rows.groupby("keep_prob")["test_error"].mean()


def averages(*numbers):
    """Verdicts on averages of so many samples, against one pass with scaled weights."""
    rows = table("mnist-averaging")
    scaled = rows["error_scaled"]
    return [paired_difference(rows[f"error_{k}"], scaled).verdict for k in numbers]


def said(page, pattern):
    """Numbers in what a lesson prints."""
    outputs = [output for cell in read(ROOT / page).cells for output in cell.get("outputs", ())]
    texts = [output.get("data", output).get("text/plain", "") for output in outputs]
    return re.search(pattern, "\n".join(texts)).groups()


def by(setting, ours, baseline, **both):
    """Two sides that differ in one setting."""
    return both | {setting: ours}, both | {setting: baseline}


def placed():
    """The place that validation chooses, its keep probability, and how it changes the error."""
    rows = best("fashion-placement")
    errors = rows[rows["place"] != "none"].groupby("place")["val_error"].mean()
    place = errors.idxmin()
    found = change("fashion-placement", "test_error", *by("place", place, "none"))
    return place, mean(rows, "keep_prob", place=place), *found


def places_that_help():
    places = set(best("fashion-placement")["place"]) - {"none"}
    sides = (by("place", place, "none") for place in places)
    verdicts = [change("fashion-placement", "test_error", *pair)[0] for pair in sides]
    return verdicts.count("lower"), len(verdicts)


def skipped(metric):
    return change("fashion-depth", metric, *by("last_survival", 0.5, 1.0))


def maps_and_activations():
    """The keep probability of both, the verdict on the error of maps, and by how many points."""
    maps, single = by("place", "maps after pooling", "after pooling")
    kept = [mean(best("fashion-placement"), "keep_prob", **side) for side in (maps, single)]
    verdict, without, ours = change("fashion-placement", "test_error", maps, single)
    return *kept, verdict, abs(ours - without)


def ensembles(metric, data="fashion"):
    """Five networks, against 100 samples of the first: the verdict, and means; errors in %."""
    rows = select(best("dropout-ensembles"), data=data, keep_prob=0.5)
    scale = 100 if metric == "error" else 1
    ours, samples = (scale * rows[f"{way}_{metric}"] for way in ("ensemble", "mc_100"))
    return paired_difference(ours, samples).verdict, samples.mean(), ours.mean()


def pruned():
    """The compression, errors of dense nets and of both pruned ones, the verdict on the second."""
    rows = table("mnist-sparse-variational")
    errors = [rows[f"{net}_error"] for net in ("dense", "variational", "magnitude")]
    verdict = paired_difference(errors[2], errors[1]).verdict
    return rows["compression"].mean(), *(100 * each.mean() for each in errors), verdict


def seconds_to(near):
    """Until so near to Adam's lowest loss under masks: Adam with fresh masks, and the formula."""
    rows = select(table("logistic-fast-dropout"), task="money-fx")
    runs = rows.groupby(["method", "rate", "length"])[["masked_loss", "seconds_used"]].mean()
    goal = (1 + near) * runs.loc["adam", "masked_loss"].min()
    quickest = runs[runs["masked_loss"] <= goal].groupby("method")["seconds_used"].min()
    return quickest["adam"], quickest["formula"]


COMPARED = {
    "All rows of the figure come from one table of {} trained networks": lambda: [
        len(table("digits-compared"))
    ],
    "Dropout runs at its best rate, {:g}.": lambda: [digits_rate("both layers")],
    "dropout is at its best here at {:g}, and the network without masks at {:g}": lambda: [
        digits_rate(masked) for masked in ("both layers", "none")
    ],
    "a network with {:.0f} of 597 digits wrong": lambda: [597 / 100 * digits("test_error")[1]],
}

ERRATA = {
    "an average over 100 networks is {} from scaling": lambda: averages(100),
    "Validation chose {:g} for maps and {:g} for single activations; the error with whole "
    "maps was [{}, by {:.2f} points](results-fashion-placement)": maps_and_activations,
}

WHICH = {
    "[{:g} → {:g}](results-mnist-size)": lambda: mnist(10_000, "rate")[1:],
    "[{:.0f} → {:.0f} epochs](results-mnist-size)": lambda: mnist(10_000, "epochs")[1:],
    "From $p = 0.5$ to 0.8 the error changed by [{:.2f} points](results-mnist-rate)": lambda: [
        np.ptp(errors_by_keep_prob().loc[0.5:0.8])
    ],
    "[{}, {:.2f} → {:.2f}](results-dropout-schedules)": lambda: change(
        "dropout-schedules",
        "train_loss",
        *by("schedule", "early", "none", regime="underfits"),
        by="train_loss",
    ),
    "[{} of {}](results-uci-mc-dropout) networks chose $p = 0.99$ or more": lambda: regression(
        0.99, 0.995
    ),
    "[{} of {}](results-uci-mc-dropout) of those for *wine* chose 0.9 or 0.95": lambda: regression(
        0.9, 0.95, name="wine-quality-red"
    ),
    "[{:.2f} → {:.2f}](results-uci-mc-dropout)": lambda: [
        mean(table("uci-mc-dropout"), "rmse", name="energy", epochs=n) for n in (400, 4000)
    ],
    "and [{} of {}](results-uci-mc-dropout) took the largest": lambda: regression(0.995),
    "the error was [{}, {:.1f} → {:.1f} %](results-digits-compared)": lambda: digits("test_error"),
    "the loss [{}, {:.2f} → {:.2f}](results-digits-compared)": lambda: digits("test_loss"),
    "10,000 images of MNIST: error [{}, {:.1f} → {:.1f} %](results-mnist-size)": lambda: mnist(
        10_000, "test_error"
    ),
    "News stories: [{}, {:.1f} → {:.1f} %](results-reuters)": lambda: change(
        "reuters", "test_error", *by("masks", "hidden", "none")
    ),
    "on hidden units alone: [{}](results-mnist-error)": lambda: on_mnist(
        mnist_net(0.5, 1.0), mnist_net(1.0, 1.0)
    ),
    "on the inputs too: [{}](results-mnist-error)": lambda: on_mnist(
        mnist_net(0.5, 0.8), mnist_net(1.0, 1.0)
    ),
    "with the limit on both sides: [{}](results-mnist-error)": lambda: on_mnist(
        mnist_net(0.5, 0.8, 2.0), mnist_net(1.0, 1.0, 2.0)
    ),
    "Gaussian noise: [{}](results-mnist-error)": lambda: on_mnist(
        mnist_net(0.5, 0.8, 2.0, "gaussian"), mnist_net(0.5, 0.8, 2.0)
    ),
    "50,000 images and 512 units: error [{}, {:.2f} → {:.2f} %](results-mnist-size)": lambda: mnist(
        50_000, "test_error"
    ),
    "the loss still [{}, {:.3f} → {:.3f}](results-mnist-size)": lambda: mnist(50_000, "test_loss"),
    "DropConnect: [{}, {:.1f} → {:.1f} %](results-mnist-dropconnect)": lambda: change(
        "mnist-dropconnect", "test_error", *by("masks", "weights", "units")
    ),
    "R-Drop, 50 labels a topic: [{}, {:.1f} → {:.1f} %](results-two-masks)": lambda: change(
        "two-masks", "test_error", *by("method", "agree", "masks", n_labels=50)
    ),
    "in logistic regression, to the same loss: "
    "[{:.1f} → {:.2f} seconds](results-logistic-fast-dropout)": lambda: seconds_to(0.01),
    "[variance of {:.2f}](convolutional/placement)": lambda: [shift_ratio(1, 1, 0.5)],
    "[{}, keeping {:.1f}: {}, {:.1f} → {:.1f} %](results-fashion-placement)": placed,
    "[{} of {}](results-fashion-placement) places": places_that_help,
    "Our 26 layers on Fashion-MNIST: [{}, {:.1f} → {:.1f} %](results-fashion-depth)": lambda: (
        skipped("test_error")
    ),
    "half of the blocks are lost later: [{}, {:.0f} → {:.0f} %](results-fashion-depth)": lambda: (
        skipped("error_0.5")
    ),
    "40 passes over a few stories, $p = {:.1f}$: "
    "loss [{}, {:.2f} → {:.2f}](results-transformer-passes)": lambda: [
        mean(best("transformer-passes"), "keep_prob", passes=40, place="all four"),
        *change("transformer-passes", "test_loss", *by("place", "all four", "none", passes=40)),
    ],
    "a single pass: [{}, {:.2f} → {:.2f}](results-transformer-passes)": lambda: change(
        "transformer-passes", "test_loss", *by("place", "all four", "none", passes=1)
    ),
    "adapter [{}, {:.1f} → {:.1f} %](results-fine-tuning)": lambda: change(
        "fine-tuning", "test_error", *by("side", "masked adapter", "adapter", n_takes=1)
    ),
    ", head [{}, {:.1f} → {:.1f} %](results-fine-tuning)": lambda: change(
        "fine-tuning", "test_error", *by("side", "masked head", "whole", n_takes=1)
    ),
    "Ten takes, masks in the head: [{}, {:.1f} → {:.1f} %](results-fine-tuning)": lambda: change(
        "fine-tuning", "test_error", *by("side", "masked head", "whole", n_takes=10)
    ),
    "; decay: [{}, {:.1f} → {:.1f} %](results-fine-tuning)": lambda: change(
        "fine-tuning", "test_error", *by("side", "decayed", "whole", n_takes=10)
    ),
    "over {} % right with the same masks, below {} % with new ones": lambda: (
        *said("book/variants/recurrent.ipynb", r"same masks: over (\d+) % right"),
        *said("book/variants/recurrent.ipynb", r"new masks: below (\d+) %"),
    ),
    "20 samples: error [{}](results-mnist-averaging); 50: [{}](results-mnist-averaging)": (
        lambda: averages(20, 50)
    ),
    "five networks with masks: error [{}, {:.1f} → {:.1f} %](results-dropout-ensembles)": lambda: (
        ensembles("error")
    ),
    ", loss [{}, {:.3f} → {:.3f}](results-dropout-ensembles)": lambda: ensembles("loss"),
    "gain less than {} points": lambda: said(
        "book/bayesian/mc-dropout.ipynb", r"fifty runs gain less than ([\d.]+) points"
    ),
    "[{:.0f} times fewer weights: {:.2f} → {:.2f} % variational, {:.2f} % by magnitude]"
    "(results-mnist-sparse-variational). The second: [{}](results-mnist-sparse-variational)": (
        pruned
    ),
}

QUOTES = [
    (page, phrase, fill)
    for page, quotes in {
        "book/which-dropout.ipynb": WHICH,
        "book/errata.ipynb": ERRATA,
        "book/reproductions/how-we-compare.ipynb": COMPARED,
    }.items()
    for phrase, fill in quotes.items()
]


@pytest.mark.parametrize(("page", "phrase", "fill"), QUOTES, ids=[each[1] for each in QUOTES])
def test_quote_is_what_its_table_says(page, phrase, fill):
    text = markdown_of(ROOT / page)
    filled = phrase.format(*fill())
    pattern = ".*?".join(re.escape(part) for part in GAP.split(phrase))
    assert filled in text, f"{page} has {re.findall(pattern, text) or 'nothing of the kind'}"


@pytest.mark.parametrize("page", [path for path in NOTEBOOKS if path.stem != "results"], ids=name)
def test_each_number_that_links_to_a_table_is_a_quote(page):
    parts = [GAP.split(phrase) for of, phrase, _ in QUOTES if of == name(page)]
    patterns = [".*?".join(map(re.escape, each)) for each in parts]
    text = markdown_of(page)
    quoted = "\n".join(match for pattern in patterns for match in re.findall(pattern, text))
    assert [link for link in LINK.findall(text) if link not in quoted] == []
