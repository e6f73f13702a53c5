"""Topics of news stories from few labels: two masks that must agree, and two masks as two views."""

from functools import cache, partial

import torch
from sklearn.decomposition import TruncatedSVD
from torch import nn
from torch.nn.functional import normalize

from lib.datasets import Split, load_reuters
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.layers import Dropout
from lib.networks import multilayer_perceptron
from lib.training import classification_loss
from lib.two_masks import TwoMasks, contrastive_loss, r_drop

N_TOPICS = 10
N_OTHERS = 64  # stories without labels behind each minibatch
TEMPERATURE = 0.05  # of Gao et al. (2021)


def few_labels(n_labels, n_words, n_val, seed):
    """Stories of the ten commonest topics, `n_labels` of each for training."""
    data = load_reuters(n_val=n_val, n_words=n_words, seed=seed)
    commonest = data.y_train.bincount().topk(N_TOPICS).indices
    parts = []
    for x, y in zip(data[::2], data[1::2], strict=True):
        rows, labels = (y[:, None] == commonest).nonzero(as_tuple=True)
        parts += [x[rows], labels]
    x, y, *others = parts
    chosen = torch.cat([(y == topic).nonzero()[:n_labels, 0] for topic in range(N_TOPICS)])
    return Split(x[chosen], y[chosen], *others)


@cache
def all_stories(n_words):
    """The words of all 6,532 training stories, of 52 topics: no label goes with them."""
    return load_reuters(n_words=n_words).x_train


def some_stories(n_words):
    """Draw stories without labels."""
    stories = all_stories(n_words)
    return stories[torch.randint(len(stories), (N_OTHERS,))]


@cache
def by_views(n_words, features, keep_prob, passes, seed):
    """Learn to tell all stories apart, each seen with two masks; return the hidden layer.

    As in SimCSE, the layer behind it is for training alone.
    """
    stories = all_stories(n_words)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        encoder = nn.Sequential(Dropout(keep_prob), nn.Linear(n_words, features), nn.ReLU())
        net = nn.Sequential(encoder, Dropout(keep_prob), nn.Linear(features, features))
        optimizer = torch.optim.Adam(net.parameters())
        for _ in range(passes):
            for x in stories[torch.randperm(len(stories))].split(128):
                views = net(torch.cat([x, x])).split(len(x))
                optimizer.zero_grad()
                contrastive_loss(*views, TEMPERATURE).backward()
                optimizer.step()
    return encoder.eval()


@cache
def by_svd(n_words, n_dimensions):
    """Project on the directions in which all stories differ most: latent semantic analysis."""
    svd = TruncatedSVD(n_dimensions, random_state=0).fit(all_stories(n_words).numpy())
    directions = torch.tensor(svd.components_)  # (dimensions, words)
    return lambda words: words @ directions.T


@torch.no_grad()
def represented(data, encoder):
    """The stories as the encoder sees them, scaled to a mean square of 1."""
    parts = [normalize(encoder(x), dim=-1) for x in data[::2]]
    parts = [x * x.shape[-1] ** 0.5 for x in parts]
    return Split(*(each for pair in zip(parts, data[1::2], strict=True) for each in pair))


def two_masks_trial(
    seed, *, n_labels, method, keep_prob, parameter, rate, n_words=1000, hidden=100, features=300,
    n_val=1000, patience=10, cap=300,
):  # fmt: skip
    """Train a classifier on `n_labels` stories of each topic.

    What `parameter` is depends on the method: with "agree" and "agree on all" the weight of the
    agreement, with "views" the passes over the stories without labels, with "svd" the number of
    dimensions; the views are of `features` hidden units. Masks are on words and hidden units alike.
    `n_val` stories of all 52 topics are taken for validation; those of the ten topics are used.
    """
    data = few_labels(n_labels, n_words, n_val, seed)
    net = multilayer_perceptron([n_words, hidden, N_TOPICS], keep_prob, keep_prob)
    loss = classification_loss
    if method in ("views", "svd"):
        if method == "views":
            encoder = by_views(n_words, features, keep_prob, int(parameter), seed)
        else:
            encoder = by_svd(n_words, int(parameter))
        data = represented(data, encoder)
        net = nn.Linear(data.x_train.shape[-1], N_TOPICS)
    elif method in ("two masks", "agree", "agree on all"):
        others = partial(some_stories, n_words) if method == "agree on all" else None
        net, loss = TwoMasks(net, others), r_drop(parameter)
    how = {"rate": rate, "patience": patience, "cap": cap, "batch_size": 50, "loss": loss}
    return train_to_end(net, data, **how)[0]


KEPT = [0.8, 0.65, 0.5, 0.35, 0.2]
WEIGHTS = [0.1, 0.3, 1, 3]
RATES = [0.03, 0.1, 0.3]

TWO_MASKS = Comparison(
    name="two-masks",
    title="Topics of stories from few labels: masks, two that must agree, two as views, an SVD",
    paper="Liang et al. (2021), on other tasks; Gao et al. (2021), likewise",
    configurations=[
        configuration
        for n_labels in (5, 50)
        for method, keep_prob, parameter in (
            ("none", 1.0, 0),
            ("masks", KEPT, 0),
            ("two masks", KEPT, 0),
            ("agree", [0.9, *KEPT[:3]], WEIGHTS),
            ("agree on all", [0.9, 0.8, 0.5], [0.03, *WEIGHTS]),
            ("views", [0.5, 0.3, 0.2], [3, 10, 30]),
            ("svd", 1.0, [10, 30, 100, 300]),
        )
        for configuration in grid(
            n_labels=n_labels, method=method, keep_prob=keep_prob, parameter=parameter, rate=RATES
        )
    ],
    choices=("keep_prob", "parameter", "rate"),
    metrics=TRAINED_TO_END,
    trial=two_masks_trial,
    smallest={
        "n_labels": 20, "method": "agree on all", "keep_prob": 0.8, "parameter": 1, "rate": 0.1,
        "n_words": 500, "hidden": 50, "n_val": 500, "patience": 3, "cap": 20,
    },
    n_seeds=10,
    search_seeds=2,
)  # fmt: skip
