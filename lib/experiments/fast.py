"""Fast dropout against sampled masks: what each costs until it has learnt as much."""

import time

import torch
from numpy.polynomial.hermite_e import hermegauss
from torch import nn
from torch.nn.functional import softplus

from lib.datasets import load_mnist, load_reuters, reuters_topics
from lib.experiments.experiment import Experiment, grid
from lib.experiments.protocol import Comparison
from lib.experiments.recipes import at_best_epoch
from lib.layers import Dropout, FastDropoutLinear
from lib.layers.expected_loss import expected_cross_entropy
from lib.training import fit

EPOCHS = 60
N_HIDDEN = 256


def fast_trial(seed, *, data, method, rate, epochs=EPOCHS, n_train=20_000, n_hidden=N_HIDDEN):
    """Train one hidden layer, its units dropped; for text the words are dropped too."""
    if data == "text":
        split, keep_input, keep_hidden = load_reuters(n_val=1000, seed=seed), 0.8, 0.5
    else:
        split = load_mnist(n_train=n_train, n_val=5000, seed=seed)
        keep_input, keep_hidden = 1.0, 0.5
    n_inputs, n_classes = split.x_train.shape[1], int(split.y_train.max()) + 1
    if method == "fast":
        model = nn.Sequential(
            FastDropoutLinear(n_inputs, n_hidden, keep_input),
            FastDropoutLinear(n_hidden, n_classes, keep_hidden, activation=None),
        )
    else:
        model = nn.Sequential(
            *(Dropout(keep_input), nn.Linear(n_inputs, n_hidden), nn.ReLU()),
            *(Dropout(keep_hidden), nn.Linear(n_hidden, n_classes)),
        )
    start = time.process_time()
    history = fit(
        model, split, epochs=epochs, batch_size=128, learning_rate=rate, loss=expected_cross_entropy
    )
    seconds = (time.process_time() - start) / epochs
    losses = [*history.val_loss.tolist(), *[float("nan")] * (EPOCHS - epochs)]
    return {
        "seconds_an_epoch": seconds,
        **at_best_epoch(history),
        **{f"val_loss_{epoch + 1}": loss for epoch, loss in enumerate(losses)},
    }


FAST_DROPOUT = Comparison(
    name="fast-dropout",
    title="Fast dropout and sampled masks: validation loss by epoch, and what an epoch costs",
    paper="Wang and Manning (2013)",
    configurations=grid(
        data=["text", "digits"], method=["sampled", "fast"], rate=[3e-4, 1e-3, 3e-3, 1e-2]
    ),
    chosen_by="val_loss",
    one_test_set=False,
    metrics=(
        *("seconds_an_epoch", "test_error", "test_loss", "val_loss", "best_epoch"),
        *(f"val_loss_{epoch + 1}" for epoch in range(EPOCHS)),
    ),
    trial=fast_trial,
    smallest={"epochs": 3, "n_train": 3000, "n_hidden": 64},
)


# Topics against all others, or one against another: a pair that is hard to tell apart
TASKS = {"acq": None, "money-fx": "interest"}
NODES, NODE_WEIGHTS = (torch.tensor(values, dtype=torch.float32) for values in hermegauss(8))


def task_data(name, seed, n_words):
    """Training and test stories of a task: words and a constant, labels 1 and -1."""
    topics = reuters_topics()
    one, other = (topics.index(topic) if topic else None for topic in (name, TASKS[name]))
    data = load_reuters(n_words=n_words, seed=seed)
    parts = []
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        rows = slice(None) if other is None else (y == one) | (y == other)
        x, y = torch.cat([x[rows], torch.ones_like(x[rows, :1])], dim=1), y[rows]
        parts.append((x, torch.where(y == one, 1.0, -1.0)))
    return parts


def gaussian_loss(w, x, y):
    """Mean logistic loss with half of the words dropped, if the masked sums are Gaussian.

    The constant is never dropped. One integral an example, in one variable.
    """
    std = (x[:, :-1].square() @ w[:-1].square() + 1e-12).sqrt()
    sums = (x @ w)[:, None] + std[:, None] * NODES
    return (softplus(-y[:, None] * sums) @ NODE_WEIGHTS).mean() / NODE_WEIGHTS.sum()


def masked_loss(w, x, y):
    """Mean logistic loss under a mask an example."""
    masks = 2.0 * (torch.rand_like(x) < 0.5)
    masks[:, -1] = 1
    return softplus(-y * ((masks * x) @ w)).mean()


def by_lbfgs(loss, n_inputs, iterations):
    w = torch.zeros(n_inputs, requires_grad=True)
    optimizer = torch.optim.LBFGS([w], max_iter=iterations, line_search_fn="strong_wolfe")

    def closure():
        optimizer.zero_grad()
        value = loss(w)
        value.backward()
        return value

    optimizer.step(closure)
    return w.detach()


def by_adam(x, y, rate, epochs, batch_size=100):
    """Masks drawn anew in each step; the rate falls to zero in a straight line."""
    w = torch.zeros(x.shape[1], requires_grad=True)
    optimizer = torch.optim.Adam([w], lr=rate, fused=True)
    steps = epochs * -(-len(x) // batch_size)
    schedule = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.0, steps)
    for _ in range(epochs):
        for rows in torch.randperm(len(x)).split(batch_size):
            optimizer.zero_grad()
            masked_loss(w, x[rows], y[rows]).backward()
            optimizer.step()
            schedule.step()
    return w.detach()


def logistic_trial(seed, *, task, method, rate, length, n_words=2000, n_masks=100):
    """Train a logistic regression, its words dropped with probability a half; one run, timed.

    `length` is in iterations for L-BFGS, in epochs for Adam. "masks" has the authors' rival: L-BFGS
    on the loss under `n_masks` masks an example, the same in each evaluation.
    """
    (x, y), (x_test, y_test) = task_data(task, seed, n_words)

    def under_masks(w):
        return sum(masked_loss(w, x, y) for _ in range(n_masks)) / n_masks

    def under_the_same_masks(w):
        with torch.random.fork_rng():
            return under_masks(w)

    start = time.process_time()
    if method == "adam":
        w = by_adam(x, y, rate, length)
    else:
        loss = under_the_same_masks if method == "masks" else lambda w: gaussian_loss(w, x, y)
        w = by_lbfgs(loss, x.shape[1], length)
    seconds = time.process_time() - start
    margins = y_test * (x_test @ w)
    torch.manual_seed(1_000_000 + seed)  # masks that no method was trained under
    return {
        "seconds_used": seconds,
        "gaussian_loss": gaussian_loss(w, x, y),
        "masked_loss": under_masks(w),
        "test_loss": softplus(-margins).mean(),
        "test_error": (margins <= 0).float().mean(),
    }


LOGISTIC = Experiment(
    name="logistic-fast-dropout",
    title="Logistic regression with half of the words dropped: L-BFGS on the formula, and masks",
    paper="Wang and Manning (2013), section 5",
    configurations=[
        *grid(
            task=list(TASKS), method="formula", rate=1.0, length=[5, 10, 20, 40, 60, 80, 120, 160]
        ),
        *grid(task="money-fx", method="masks", rate=1.0, length=[20, 40, 80]),
        *grid(
            task=list(TASKS), method="adam", rate=[0.01, 0.03, 0.1, 0.3], length=[10, 30, 100, 300]
        ),
    ],
    metrics=("seconds_used", "gaussian_loss", "masked_loss", "test_loss", "test_error"),
    trial=logistic_trial,
    smallest={"n_words": 200, "n_masks": 2},
    n_seeds=3,
)
