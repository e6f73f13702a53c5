"""The one protocol by which methods are compared: each at its best, and trained to its end."""

import copy
import math
from collections.abc import Sequence
from dataclasses import dataclass

import pandas as pd
import torch

from lib.experiments.experiment import Experiment
from lib.experiments.results import at_best
from lib.training import classification_loss, constrain_norms, error_rate, evaluate, minibatches
from lib.validation import COUNT, TEXT, Flag, Many, declared


@declared(choices=Many(TEXT), chosen_by=TEXT, search_seeds=COUNT, one_test_set=Flag())
@dataclass(frozen=True)
class Comparison(Experiment):
    """Methods that are compared, each with settings of its own to choose.

    All configurations are run with the first seeds. Of those that differ in the `choices` alone,
    the best (`lib.experiments.at_best`) goes on to the other seeds. It is chosen on validation
    data, on which no seed is tested. If it is at the edge of its grid of rates, the next rate is
    tried too.

    Parameters
    ----------
    choices : sequence of str
        Settings that each side chooses, such as its learning rate.
    chosen_by : str
        The metric whose lowest mean is the best.
    search_seeds : int
        With how many seeds all configurations are run.
    one_test_set : bool
        Whether all seeds are tested on the same examples.
    """

    choices: Sequence[str] = ("rate",)
    chosen_by: str = "val_error"
    search_seeds: int = 1
    one_test_set: bool = True

    @property
    def beside(self):
        """The column that says which test examples are wrong, if all seeds have the same ones."""
        return ["wrong"] * self.one_test_set

    def trials(self, n_seeds=None, rows=()):
        """List the grid with the first seeds; where `rows` have all of it, the best with others."""
        search = super().trials(self.search_seeds)
        rows = {tuple(row[name] for name in (*self.settings, "seed")): row for row in rows}
        while all(trial.key in rows for trial in search):
            best = self._best([rows[trial.key] for trial in search])
            first = [trial for trial in search if trial.seed == 0 and trial.key[:-1] in best]
            wider = [self._beyond(trial, search) for trial in first]
            if not any(wider):
                seeds = range(self.search_seeds, n_seeds or self.n_seeds)
                return search + [trial._replace(seed=seed) for seed in seeds for trial in first]
            seeds = range(self.search_seeds)
            search += [trial._replace(seed=seed) for seed in seeds for trial in wider if trial]
        return search

    def _best(self, rows):
        """The configurations that are best by validation, one a side."""
        found = pd.DataFrame(rows)[[*self.settings, "seed", self.chosen_by, "seconds"]]
        best = at_best(found, list(self.choices), self.chosen_by)
        return {tuple(row) for row in best[self.settings].itertuples(index=False)}

    def _beyond(self, trial, search):
        """The trial at the next rate, if its own is at an edge of three or more that were tried."""

        def side(trial):
            return {name: value for name, value in trial.configuration if name not in self.choices}

        rate = dict(trial.configuration)["rate"]
        tried = {dict(each.configuration)["rate"] for each in search if side(each) == side(trial)}
        for rates in (sorted(tried), sorted(tried, reverse=True)):
            if len(rates) >= 3 and rate == rates[0]:
                further = float(f"{rate * rates[1] / rates[2]:.2g}")  # the steps go on as they were
                return trial._replace(
                    configuration=tuple((dict(trial.configuration) | {"rate": further}).items())
                )
        return None


OF_THE_END = ("test_error", "test_loss", "val_error", "val_loss", "train_loss")
TRAINED_TO_END = (*OF_THE_END, "epochs", "finished")


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

    Gradient descent with momentum 0.9. Validation is looked at after every round: an epoch, or as
    many as make at least 50 steps. When neither its loss nor its error has been lower than ever
    before for `patience` rounds, the rate falls to a tenth; the second time training ends. The test
    error is that of the weights with the lowest validation error, the test loss that of those with
    the lowest validation loss.

    Parameters
    ----------
    model : torch.nn.Module
    data : lib.datasets.Split
    rate : float
        The first learning rate.
    patience, cap : int
        Rounds without improvement, and rounds after which training ends unfinished.
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
    settings = {"momentum": 0.9, "weight_decay": weight_decay}
    optimizer = torch.optim.SGD(model.parameters(), lr=rate, **settings)
    epochs_a_round = math.ceil(50 * batch_size / len(data.x_train))
    lowest, last, falls, done = {"loss": math.inf, "error": math.inf}, 0, 0, 0
    best = dict.fromkeys(lowest, model)  # to the end, if its loss is not a number from the start
    while falls < 2 and done < cap:
        done += 1
        model.train()
        for _ in range(epochs_a_round):
            for x, y in minibatches(data.x_train, data.y_train, batch_size):
                optimizer.zero_grad()
                loss(model(x), y).backward()
                optimizer.step()
                if max_norm is not None:
                    constrain_norms(model, max_norm)
        for name, value in evaluate(model, data.x_val, data.y_val, loss)._asdict().items():
            if value < lowest[name]:
                lowest[name], best[name], last = value, copy.deepcopy(model), done
        if done - last >= patience:
            falls, last = falls + 1, done
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
        "epochs": done * epochs_a_round,
        "finished": falls == 2,
        "wrong": wrong,
    }
    return metrics, best["error"]
