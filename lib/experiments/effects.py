"""What the papers say that a method changes, and what it changes here: the rows of the forest."""

from typing import NamedTuple

from lib.comparison import paired_difference
from lib.experiments.registry import EXPERIMENTS
from lib.experiments.results import RESULTS, at_best, compare, read_results
from lib.validation import PATH, TEXT, Optional, declared


@declared(name=TEXT, folder=PATH, by=Optional(TEXT))
def at_its_best(name, folder=RESULTS, by=None):
    """Read of an experiment the rows of each side's best settings, by its own metric if none."""
    experiment = EXPERIMENTS[name]
    rows = read_results(name, folder)
    return at_best(rows, list(experiment.choices), by or experiment.chosen_by)


class Effect(NamedTuple):
    """A method against another: how the test error differs, in the paper and here.

    Parameters
    ----------
    experiment : str
        Names the table.
    what : str
        Both sides, in a few words.
    ours, baseline : dict or str
        Settings of the two sides. Or two metrics of the same networks.
    paper : float
        The paper's difference, in points.
    alike : bool
        Whether the paper's is of the same data, as many.
    """

    experiment: str
    what: str
    ours: dict | str
    baseline: dict | str
    paper: float
    alike: bool = True

    @declared(folder=PATH)
    def measured(self, folder=RESULTS):
        """Our difference, in points, with its interval: a `lib.comparison.Comparison`."""
        if isinstance(self.ours, str):
            frame = read_results(self.experiment, folder)
            change = paired_difference(frame[self.ours], frame[self.baseline])
        else:
            frame = at_its_best(self.experiment, folder)
            change = compare(frame, "test_error", self.ours, self.baseline)
        return change.scaled(100)

    @declared(folder=PATH)
    def reproduced(self, folder=RESULTS):
        """Say "yes", "no" or "undecided", by the interval alone.

        "yes": it lies on the paper's side of zero. "no": it lies on the other side, or it has zero
        in it and, on the same data, no effect as large as the paper's. "undecided": anything else.
        """
        _, low, high, *_ = self.measured(folder)
        if self.paper < 0:
            low, high = -high, -low
        if low > 0:
            return "yes"
        return "no" if high < 0 or (self.alike and high < abs(self.paper)) else "undecided"


def _masks(keep_hidden, keep_input, max_norm=float("inf"), noise="bernoulli"):
    return {
        "noise": noise, "keep_hidden": keep_hidden, "keep_input": keep_input, "max_norm": max_norm
    }  # fmt: skip


EFFECTS = (
    Effect("mnist-error", "hidden units masked", _masks(0.5, 1.0), _masks(1.0, 1.0), -0.30),
    Effect("mnist-error", "inputs masked too", _masks(0.5, 0.8), _masks(1.0, 1.0), -0.50),
    Effect("mnist-error", "the same, both with a norm limit", _masks(0.5, 0.8, 2.0),
           _masks(1.0, 1.0, 2.0), -0.30),
    Effect("mnist-error", "Gaussian noise − masks", _masks(0.5, 0.8, 2.0, "gaussian"),
           _masks(0.5, 0.8, 2.0), -0.13),
    Effect("mnist-sparse-variational", "most weights pruned, by learned noise",
           "variational_error", "dense_error", 0.28),
    Effect("reuters", "topics of news", {"masks": "hidden"}, {"masks": "none"}, -1.43, False),
    Effect("mnist-dropconnect", "dropout, one layer", {"masks": "units"}, {"masks": "none"}, -0.34,
           False),
    Effect("mnist-dropconnect", "DropConnect − dropout", {"masks": "weights"}, {"masks": "units"},
           -0.08, False),
    Effect("spoken-digits", "speech, known speakers",
           {"test": "recordings", "keep_input": 0.8},
           {"test": "recordings", "keep_input": 1.0}, -3.0, False),
    Effect("spoken-digits", "speech, a new speaker",
           {"test": "speaker", "keep_input": 0.8},
           {"test": "speaker", "keep_input": 1.0}, -3.0, False),
    Effect("fashion-depth", "blocks skipped", {"last_survival": 0.5}, {"last_survival": 1.0}, -1.16,
           False),
)  # fmt: skip
