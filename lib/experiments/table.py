"""A table of results on disk: rows are added one by one, and never lost or doubled."""

import csv
import os
from contextlib import contextmanager
from pathlib import Path

from filelock import FileLock, Timeout
from PIL import Image

from lib.experiments.experiment import CIRCUMSTANCES

RESULTS = Path(__file__).parents[2] / "book" / "reproductions" / "results"


class ResultsTable:
    """The finished trials of an experiment, in ``<folder>/<name>.csv``.

    A new row is written with the old ones to a second file, which then takes the place of the
    first in one step. So the table is whole at every moment: a process killed half-way, or a full
    disk, leaves it as it was.

    Parameters
    ----------
    experiment : lib.experiments.Experiment
    folder : path, optional
        Where the tables are: the book's, if no other is named.

    Raises
    ------
    ValueError
        In `rows`, if the file is not a table of this experiment.
    """

    def __init__(self, experiment, folder=RESULTS):
        self.experiment = experiment
        self.path = Path(folder) / f"{experiment.name}.csv"
        self.draft = self.path.with_suffix(".part")
        self.columns = [*experiment.settings, "seed", *experiment.metrics, *CIRCUMSTANCES]

    def rows(self):
        """Read the finished trials.

        Returns
        -------
        list of dict
            Column to text, in the order in which they were finished.
        """
        if not self.path.exists():
            return []
        with self.path.open(newline="", encoding="utf-8") as file:
            reader = csv.DictReader(file)
            if reader.fieldnames != self.columns:
                raise ValueError(
                    f"{self.path} must have the columns {', '.join(self.columns)}, "
                    f"got {', '.join(reader.fieldnames or ['none'])}: "
                    "it is of another version of the experiment; move it away"
                )
            rows = list(reader)
        for number, row in enumerate(rows, start=2):
            if None in row or None in row.values():
                raise ValueError(f"{self.path}, row {number}, must have {len(self.columns)} fields")
        return rows

    def key(self, row):
        """Which trial a row is of: its configuration and seed.

        Parameters
        ----------
        row : dict

        Returns
        -------
        tuple of str
        """
        return tuple(str(row[name]) for name in (*self.experiment.settings, "seed"))

    def missing(self, n_seeds=None):
        """List the trials that have no row yet.

        Parameters
        ----------
        n_seeds : int, optional
            For `Experiment.trials`.

        Returns
        -------
        list of lib.experiments.experiment.Trial
        """
        done = {self.key(row) for row in self.rows()}
        return [trial for trial in self.experiment.trials(n_seeds) if trial.key not in done]

    def picture_path(self, row):
        """Where the picture of a trial is.

        Parameters
        ----------
        row : dict

        Returns
        -------
        pathlib.Path
        """
        return self.path.with_name("-".join([self.path.stem, *self.key(row)]) + ".png")

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
        rows = self.rows()
        if self.key(row) in map(self.key, rows):
            raise ValueError(f"{self.path} has a row of {self.key(row)} already")
        try:
            self.path.parent.mkdir(parents=True, exist_ok=True)
            if picture is not None:
                with self._in_place_of(self.picture_path(row)) as draft:
                    Image.fromarray(picture).save(draft, "PNG")
            with (
                self._in_place_of(self.path) as draft,
                draft.open("w", newline="", encoding="utf-8") as file,
            ):
                writer = csv.DictWriter(file, self.columns, lineterminator="\n")
                writer.writeheader()
                writer.writerows([*rows, row])
                file.flush()
                os.fsync(file.fileno())
        except OSError as error:
            line = ",".join(str(row[name]) for name in self.columns)
            raise OSError(
                error.errno,
                f"{self.path} could not take a row ({error.strerror}); it is as it was before. "
                f"The row: {line}",
            ) from error

    @contextmanager
    def _in_place_of(self, path):
        """Write a draft, which takes the place of a file when it is whole, or vanishes."""
        try:
            yield self.draft
            os.replace(self.draft, path)
        finally:
            self.draft.unlink(missing_ok=True)

    @contextmanager
    def locked(self):
        """Keep the table to this process; the lock ends with the process, however it ends.

        Yields
        ------
        ResultsTable

        Raises
        ------
        RuntimeError
            If another process has it.
        """
        self.path.parent.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.path.with_suffix(".lock"))
        try:
            lock.acquire(timeout=0)
        except Timeout:
            raise RuntimeError(
                f"another process is adding to {self.path}: wait for it, or stop it"
            ) from None
        try:
            self.draft.unlink(missing_ok=True)  # of a process that was killed
            yield self
        finally:
            lock.release()
