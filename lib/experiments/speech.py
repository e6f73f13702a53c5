"""Spoken digits, frame by frame: stands where Hinton et al. have TIMIT, which is not free."""

import torch

from lib.datasets import SPEAKERS, load_spoken_digits
from lib.experiments.experiment import Experiment, grid
from lib.experiments.recipes import KEEP_PROBS, WITH_VALIDATION, train
from lib.layers.base import modes_restored
from lib.networks import multilayer_perceptron
from lib.training import error_rate, one_cycle


def speech_trial(seed, *, test, masks, epochs, hidden=512, layers=3, n_train=None):
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
    model = multilayer_perceptron(sizes, **KEEP_PROBS[masks])
    settings = {"optimizer": one_cycle(0.03), "max_norm": 3.5}
    metrics = train(model, data, epochs, measure=WITH_VALIDATION, **settings)
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


SPOKEN_DIGITS = Experiment(
    name="spoken-digits",
    title="Spoken digits from frames, with the set's own split and with a speaker left out",
    paper="Hinton et al. (2012), on TIMIT",
    configurations=grid(test=["recordings", "speaker"], masks=["none", "hidden+input"], epochs=10),
    metrics=(*WITH_VALIDATION, "recording_error"),
    trial=speech_trial,
    smallest={"epochs": 4, "hidden": 100, "layers": 2, "n_train": 8000},
    n_seeds=6,
)
