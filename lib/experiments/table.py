"""A table of results on disk: rows are added one by one, and never lost or doubled."""

import csv
import io
import os
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from lib.experiments.experiment import EXPERIMENT
from lib.experiments.results import CIRCUMSTANCES, RESULTS, as_value, read_rows
from lib.validation import PATH, declared


@declared(experiment=EXPERIMENT, folder=PATH)
class ResultsTable:
    """The finished trials of an experiment, in ``<folder>/<name>.csv``.

    The file only grows: a row is added by one write of one line. A process that is killed
    meanwhile, or a full disk, leaves a line without its end, which does not count as a row and is
    cut off before the next one is added.

    Parameters
    ----------
    experiment : Experiment
    folder : path
    """

    def __init__(self, experiment, folder=RESULTS):
        self.experiment = experiment
        self.path = Path(folder) / f"{experiment.name}.csv"
        self.columns = [*experiment.settings, "seed", *experiment.metrics, *CIRCUMSTANCES]
        self.columns += experiment.beside

    def rows(self):
        """Read the finished trials, a dict each, in the order in which they were finished.

        Raises
        ------
        ValueError
            If the file is damaged, or not a table of this experiment.
        """
        columns, rows = read_rows(self.path)
        if columns and columns != self.columns:
            raise ValueError(
                f"{self.path} must have the columns {', '.join(self.columns)}, "
                f"got {', '.join(columns)}: "
                "it is of another version of the experiment; move it away"
            )
        return rows

    def key(self, row):
        """Which trial a row is of: its configuration and seed, a tuple."""
        return tuple(as_value(str(row[name])) for name in (*self.experiment.settings, "seed"))

    def missing(self, n_seeds=None):
        """List those of `Experiment.trials` that have no row yet."""
        rows = self.rows()
        done = set(map(self.key, rows))
        return [trial for trial in self.experiment.trials(n_seeds, rows) if trial.key not in done]

    def picture_path(self, row):
        """Where the picture of a row's trial is."""
        key = "-".join(map(str, self.key(row)))
        return self.path.with_name(f"{self.path.stem}-{key}.png")

    def append(self, row, picture=None):
        """Add a row, or leave the table as it was.

        Parameters
        ----------
        row : dict
        picture : numpy.ndarray of uint8, shape (height, width), optional
            Grey levels, stored beside the table before the row is.

        Raises
        ------
        ValueError
            If the table has a row of that trial.
        OSError
            If the row cannot be written. The message holds it, so that it is not lost.
        """
        if self.key(row) in map(self.key, self.rows()):
            raise ValueError(f"{self.path} has a row of {self.key(row)} already")
        line = _line(row[name] for name in self.columns)
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if picture is not None:
                Image.fromarray(picture).save(self.picture_path(row))
            self._add(line)
        except OSError as error:
            reason = error.strerror or error
            raise OSError(
                error.errno,
                f"{self.path} could not take a row ({reason}); it is as it was before. "
                f"The row: {line.rstrip()}",
            ) from error

    def _add(self, line):
        with self.path.open("ab", buffering=0) as file:
            whole = self.path.read_bytes().rfind(b"\n") + 1
            file.truncate(whole)
            data = (line if whole else _line(self.columns) + line).encode()
            try:
                while data:  # a write takes less than all where the disk is full; the next says so
                    data = data[file.write(data) :]
                os.fsync(file.fileno())
            except OSError:
                file.truncate(whole)
                raise

    @contextmanager
    def locked(self):
        """Keep the table to this process, or raise a RuntimeError if another one has it.

        The lock ends with the process, however it ends.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        try:
            with FileLock(self.path.with_suffix(".lock"), timeout=0):
                yield self
        except Timeout:
            raise RuntimeError(
                f"another process is adding to {self.path}: wait for it, or stop it"
            ) from None


def _line(fields):
    line = io.StringIO()
    csv.writer(line, lineterminator="\n").writerow(fields)
    return line.getvalue()
