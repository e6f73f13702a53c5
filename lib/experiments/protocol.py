"""The one protocol by which methods are compared: each at its best, and trained to its end."""

import copy
from dataclasses import dataclass

import torch

from lib.experiments.experiment import Experiment
from lib.training import classification_loss, constrain_norms, error_rate, evaluate, minibatches
from lib.validation import TEXT, declared


@declared(chosen_by=TEXT)
@dataclass(frozen=True)
class Comparison(Experiment):
    """Methods, the sides, each with its own settings to choose from.

    All configurations begin with a "side", and those of one side are its grid. All of them are run
    with seed 0, and each side's best goes on to the other seeds. It is chosen on validation data,
    which no seed tests on; nobody looks at a test result meanwhile.

    Parameters
    ----------
    chosen_by : str
        The metric whose lowest value, with seed 0, is a side's best.
    """

    chosen_by: str = "val_error"

    def trials(self, n_seeds=None, rows=()):
        """List the grid with seed 0, and where `rows` have all of it, the best with every seed."""
        search = super().trials(1)
        found = {
            tuple(row[name] for name in self.settings): row for row in rows if row["seed"] == 0
        }
        if any(trial.key[:-1] not in found for trial in search):
            return search
        best = {}
        for trial in search:
            value, side = found[trial.key[:-1]][self.chosen_by], dict(trial.configuration)["side"]
            if side not in best or value < best[side][0]:
                best[side] = value, trial
        seeds = range(1, n_seeds or self.n_seeds)
        return search + [trial._replace(seed=seed) for seed in seeds for _, trial in best.values()]


TRAINED_TO_END = (
    *("test_error", "test_loss", "val_error", "val_loss", "train_loss", "epochs", "finished"),
)


def train_to_end(
    model,
    data,
    *,
    rate,
    patience,
    cap,
    batch_size=128,
    max_norm=None,
    weight_decay=0.0,
    loss=classification_loss,
):
    """Train until validation has stopped improving, and measure the network at its best.

    Gradient descent with momentum 0.9. When neither the loss nor the error on the validation data
    has been lower than ever before for `patience` epochs, the rate falls to a tenth; the third time
    training ends. The test error is that of the weights with the lowest validation error, the test
    loss that of those with the lowest validation loss.

    Parameters
    ----------
    model : torch.nn.Module
    data : lib.datasets.Split
    rate : float
        The first learning rate.
    patience, cap : int
        Epochs without improvement, and epochs after which training ends unfinished.
    batch_size : int
    max_norm : float, optional
        As of `lib.training.constrain_norms`.
    weight_decay : float
    loss : callable
        As of `lib.training.fit`.

    Returns
    -------
    metrics : dict
        `TRAINED_TO_END`; "train_loss", without masks, is that at the lowest validation loss, and
        "finished" is 0 if the cap came first. Beside them "wrong", bool of shape (n_test,).
    model : torch.nn.Module
        The network with the lowest validation error.
    """
    optimizer = torch.optim.SGD(
        model.parameters(), lr=rate, momentum=0.9, weight_decay=weight_decay, fused=True
    )
    lowest, best, last, falls, epoch = {}, {}, 0, 0, 0
    while falls < 3 and epoch < cap:
        epoch += 1
        model.train()
        for x, y in minibatches(data.x_train, data.y_train, batch_size):
            optimizer.zero_grad()
            loss(model(x), y).backward()
            optimizer.step()
            if max_norm is not None:
                constrain_norms(model, max_norm)
        for name, value in evaluate(model, data.x_val, data.y_val, loss)._asdict().items():
            if value < lowest.get(name, torch.inf):
                lowest[name], best[name], last = value, copy.deepcopy(model), epoch
        if epoch - last >= patience:
            falls, last = falls + 1, epoch
            for group in optimizer.param_groups:
                group["lr"] /= 10
    with torch.no_grad():
        output = torch.cat([best["error"].eval()(x) for x in data.x_test.split(2000)])
    wrong = (output.argmax(dim=-1) != data.y_test) | output.isnan().any(dim=-1)
    metrics = {
        "test_error": error_rate(output, data.y_test),
        "test_loss": evaluate(best["loss"], data.x_test, data.y_test, loss).loss,
        "val_error": lowest["error"],
        "val_loss": lowest["loss"],
        "train_loss": evaluate(best["loss"], data.x_train, data.y_train, loss).loss,
        "epochs": epoch,
        "finished": falls == 3,
        "wrong": wrong,
    }
    return metrics, best["error"]
