"""Spoken digits: frames of the Free Spoken Digit Dataset."""

import io
import itertools
import wave
from functools import cache
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from lib.datasets import files
from lib.datasets.splits import Split
from lib.validation import OneOf, Optional, Whole, declared

PATH = "fsdd/free-spoken-digit-dataset-1.0.10.tar.gz"
MIRRORS = (
    "https://github.com/Jakobovski/free-spoken-digit-dataset/archive/refs/tags/v1.0.10.tar.gz",
)
MEMBERS = "recordings/*.wav"
SPEAKERS = ("george", "jackson", "lucas", "nicolas", "theo", "yweweler")
N_DIGITS, N_TAKES = 10, 50  # recordings of each speaker: so many takes of each digit

RATE = 8000  # samples a second
WINDOW, HOP = 200, 160  # 25 ms and 20 ms
N_FFT, N_MELS = 512, 40
FLOOR = 1e-8  # energies below count as this much; a full-scale tone has about 2,500


class SpokenDigits(NamedTuple):
    """Frames with their digits, and each frame's recording: integer tensors (n_frames,).

    Recording 300 d + 50 s + t is take t of digit d by speaker s of `SPEAKERS`.
    """

    split: Split
    recording_train: Tensor
    recording_val: Tensor
    recording_test: Tensor


@declared(left_out=Optional(OneOf(*SPEAKERS)), context=Whole(0))
def load_spoken_digits(left_out=None, context=7):
    """Frames of 3,000 recordings of spoken digits: ten digits, six speakers, 50 takes of each.

    A frame is 25 ms of sound under a Hann window, and frames are 20 ms apart. Its log-energy in
    each of 40 bands, triangles from 0 to 4,000 Hz equally wide on the mel scale, is normalized by
    mean and standard deviation of the training frames. An input is a frame with its neighbours in
    the same recording; beyond the ends the first or last frame is repeated.

    Parameters
    ----------
    left_out : str, optional
        The speaker of `SPEAKERS` who is the test set; the next one (george after yweweler) is the
        validation set, and the other four are for training. By default every speaker is in every
        part: takes 0 to 4 for the test, as the authors say, 5 to 9 for validation.
    context : int
        Number of neighbouring frames on each side.

    Returns
    -------
    SpokenDigits
        Inputs (n, 40 (2 context + 1)), float32, the earliest frame first. Labels (n,), int64:
        the digit. The parts hold 2,400, 300 and 300 recordings, or with a speaker left out 2,000,
        500 and 500; together they have 63,353 frames.

    References
    ----------
    Z. Jackson et al., *Free Spoken Digit Dataset*, version 1.0.10 (2020). CC BY-SA 4.0.
    """
    frames, recordings = _log_mel_frames(files.find(PATH, MIRRORS, MEMBERS))
    part = _part_of_each_recording(left_out)[recordings]
    train = frames[part == "train"]
    frames = (frames - train.mean(axis=0)) / train.std(axis=0)
    split, numbers = [], []
    for name in ("train", "val", "test"):
        chosen = recordings[part == name]
        inputs = _with_context(frames[part == name], chosen, context)
        split += [torch.from_numpy(inputs), torch.from_numpy(chosen // (len(SPEAKERS) * N_TAKES))]
        numbers.append(torch.from_numpy(chosen))
    return SpokenDigits(Split(*split), *numbers)


def _part_of_each_recording(left_out):
    """For each recording, by its number: "train", "val" or "test"."""
    _, speaker, take = np.indices((N_DIGITS, len(SPEAKERS), N_TAKES)).reshape(3, -1)
    if left_out is None:
        in_test, in_val = take < 5, (take >= 5) & (take < 10)
    else:
        tested = SPEAKERS.index(left_out)
        in_test, in_val = speaker == tested, speaker == (tested + 1) % len(SPEAKERS)
    return np.select([in_test, in_val], ["test", "val"], "train")


def _with_context(frames, recordings, context):
    """Each frame (n, bands) with its neighbours in the recording: (n, (2 context + 1) bands)."""
    first = np.searchsorted(recordings, recordings, side="left")[:, None]
    last = np.searchsorted(recordings, recordings, side="right")[:, None] - 1
    rows = np.arange(len(frames))[:, None] + np.arange(-context, context + 1)
    return frames[np.clip(rows, first, last)].reshape(len(frames), -1)


@cache
def _log_mel_frames(file):
    """Log energies in bands (n_frames, N_MELS) of all recordings, and the frames' recordings."""
    content = files.read(file, PATH, MEMBERS)
    window, bands = np.hanning(WINDOW + 1)[:-1], _mel_bands()
    frames = []
    for digit, speaker, take in itertools.product(range(N_DIGITS), SPEAKERS, range(N_TAKES)):
        with wave.open(io.BytesIO(content[f"{digit}_{speaker}_{take}.wav"])) as recording:
            sound = np.frombuffer(recording.readframes(recording.getnframes()), "<i2") / 2**15
        pieces = np.lib.stride_tricks.sliding_window_view(sound, WINDOW)[::HOP]
        energy = np.abs(np.fft.rfft(pieces * window, N_FFT)) ** 2
        frames.append(np.log(np.maximum(energy @ bands, FLOOR)).astype(np.float32))
    recordings = np.repeat(np.arange(len(frames)), [len(part) for part in frames])
    return np.concatenate(frames), recordings


def _mel_bands():
    """Weights (frequencies, N_MELS) of triangular bands, each between its neighbours' peaks."""
    top = 2595 * np.log10(1 + RATE / 2 / 700)  # the mel scale is 2595 log10(1 + f / 700 Hz)
    edges = 700 * (10 ** (np.linspace(0, top, N_MELS + 2) / 2595) - 1)
    left, peak, right = edges[:-2], edges[1:-1], edges[2:]
    frequency = np.fft.rfftfreq(N_FFT, 1 / RATE)[:, None]
    rise, fall = (frequency - left) / (peak - left), (right - frequency) / (right - peak)
    return np.maximum(0, np.minimum(rise, fall))
