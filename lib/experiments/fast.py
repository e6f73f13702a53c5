"""Fast dropout against sampled masks: seconds and epochs to the same validation loss."""

import time

from torch import nn

from lib.datasets import load_mnist, load_reuters
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import at_best_epoch
from lib.layers import Dropout, FastDropoutLinear
from lib.layers.expected_loss import expected_cross_entropy
from lib.training import fit

EPOCHS = 20
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
    start = time.perf_counter()
    history = fit(
        model, split, epochs=epochs, batch_size=128, learning_rate=rate, loss=expected_cross_entropy
    )
    seconds = (time.perf_counter() - start) / epochs
    best = at_best_epoch(history)
    losses = [*history.val_loss.tolist(), *[float("nan")] * (EPOCHS - epochs)]
    return {
        "seconds_an_epoch": seconds,
        **{name: best[name] for name in ("test_error", "test_loss", "best_epoch")},
        **{f"val_loss_{epoch + 1}": loss for epoch, loss in enumerate(losses)},
    }


FAST_DROPOUT = Experiment(
    name="fast-dropout",
    title="Fast dropout and sampled masks: validation loss by epoch, and what an epoch costs",
    paper="Wang and Manning (2013)",
    configurations=grid(data=["text", "digits"], method=["sampled", "fast"], rate=[1e-3, 4e-3]),
    metrics=(
        *("seconds_an_epoch", "test_error", "test_loss", "best_epoch"),
        *(f"val_loss_{epoch + 1}" for epoch in range(EPOCHS)),
    ),
    trial=fast_trial,
    smallest={"epochs": 3, "n_train": 3000, "n_hidden": 64},
)
