"""Spoken digits, frame by frame: stands where Hinton et al. have TIMIT, which is not free."""

import torch

from lib.datasets import SPEAKERS, load_spoken_digits
from lib.experiments.experiment import grid
from lib.experiments.protocol import TRAINED_TO_END, Comparison, train_to_end
from lib.experiments.recipes import TrainedInBfloat16
from lib.layers.base import modes_restored
from lib.networks import multilayer_perceptron
from lib.training import error_rate


def speech_trial(
    seed, *, test, keep_hidden, keep_input, rate, hidden=256, layers=3, n_train=None, patience=10,
    cap=300,
):  # fmt: skip
    """Train on frames of recordings; judge frames, and whole recordings by the mean of theirs.

    With ``test="speaker"`` seed s leaves out speaker s: no recording of the test speaker, nor of
    the speaker used for validation, is trained on.
    """
    left_out = SPEAKERS[seed % len(SPEAKERS)] if test == "speaker" else None
    spoken = load_spoken_digits(left_out=left_out)
    data = spoken.split
    if n_train is not None:
        rows = torch.randperm(len(data.x_train))[:n_train]
        data = data._replace(x_train=data.x_train[rows], y_train=data.y_train[rows])
    sizes = [data.x_train.shape[1], *[hidden] * layers, 10]
    model = multilayer_perceptron(sizes, keep_hidden, keep_input)
    how = {"rate": rate, "patience": patience, "cap": cap}
    metrics, model = train_to_end(TrainedInBfloat16(model), data, **how)
    del metrics["wrong"]  # frames of one recording are wrong together
    error = recording_error(model, data.x_test, data.y_test, spoken.recording_test)
    return {**metrics, "recording_error": error}


@torch.no_grad()
def recording_error(model, x, y, recordings):
    """Share of recordings whose digit is not the one with the highest mean log-probability."""
    with modes_restored(model):
        model.eval()
        log_probs = torch.cat([model(part).log_softmax(dim=-1) for part in x.split(2000)])
    numbers, places = recordings.unique(return_inverse=True)
    total = torch.zeros(len(numbers), log_probs.shape[1]).index_add(0, places, log_probs)
    labels = torch.zeros(len(numbers), dtype=y.dtype).index_copy(0, places, y)
    return error_rate(total, labels)


SPOKEN_DIGITS = Comparison(
    name="spoken-digits",
    title="Spoken digits from frames, with the set's own split and with a speaker left out",
    paper="Hinton et al. (2012), on TIMIT",
    configurations=[
        configuration
        for keep_hidden, keep_input in (([1.0], 1.0), ([0.9, 0.7, 0.5], 0.8))
        for configuration in grid(
            test=["recordings", "speaker"],
            keep_hidden=keep_hidden,
            keep_input=keep_input,
            rate=[0.01, 0.03, 0.1],
        )
    ],
    choices=("keep_hidden", "rate"),
    one_test_set=False,
    metrics=(*TRAINED_TO_END, "recording_error"),
    trial=speech_trial,
    smallest={
        **{"test": "recordings", "keep_hidden": 0.9, "rate": 0.03},
        **{"hidden": 100, "layers": 2, "n_train": 8000, "patience": 3, "cap": 20},
    },
    n_seeds=6,
)
