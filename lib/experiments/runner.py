"""Run what is missing of an experiment: here with joblib, or on a Dask cluster."""

import os
import threading
import time
from contextlib import contextmanager
from functools import cache

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from lib.experiments.experiment import run_trial
from lib.experiments.table import RESULTS, ResultsTable
from lib.validation import check_count

SECONDS_TO_ANSWER = 10  # a scheduler that is there answers at once


def run(experiment, *, folder=RESULTS, n_seeds=None, n_jobs=2, dask=None):
    """Run the trials of an experiment that have no row yet, and store each when it is done.

    Parameters
    ----------
    experiment : lib.experiments.Experiment
    folder : path
        Where its table is.
    n_seeds : int, optional
        Seeds 0, 1, ... of each configuration. Rows that exist count.
    n_jobs : int
        Trials at a time, each on one thread.
    dask : str, optional
        Address of a Dask scheduler, ``tcp://host:port``, to run the trials in place of this
        machine. Its workers need this library, the data, and one thread each.

    Returns
    -------
    dict of lib.experiments.experiment.Trial to str
        The trials that failed, and why. The others are in the table.

    Raises
    ------
    RuntimeError
        If another process is adding to the same table, or a worker process died.
    OSError
        If a row cannot be written: the message holds the row.
    """
    n_jobs = check_count(n_jobs, "n_jobs")
    failed = {}
    with ResultsTable(experiment, folder).locked() as table:
        missing = table.missing(n_seeds)
        execute = _on_this_machine(n_jobs) if dask is None else _on_cluster(dask)
        with (
            execute(experiment, missing) as outcomes,
            tqdm(outcomes, desc=experiment.name, total=len(missing), unit="trial") as bar,
        ):
            for trial, result, error in bar:
                if error is None:
                    table.append(*result)
                else:
                    failed[trial] = error
    return failed


def _outcome_in_worker(experiment, trial, runner):
    if os.getpid() != runner:
        _end_with(runner)
    return _outcome(experiment, trial)


@cache
def _end_with(runner):
    """End this process when the one that started it is gone: else it would compute for nobody."""

    def watch():
        while os.getppid() == runner:
            time.sleep(0.5)
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def _outcome(experiment, trial):
    """Run a trial: its result, or what went wrong; one failure does not stop the others."""
    try:
        return trial, run_trial(experiment, trial), None
    except Exception as error:
        return trial, None, f"{type(error).__name__}: {error}"


def _on_this_machine(n_jobs):
    @contextmanager
    def execute(experiment, trials):
        parallel = Parallel(n_jobs=n_jobs, return_as="generator_unordered", pre_dispatch=n_jobs)
        run_one = delayed(_outcome_in_worker)
        outcomes = parallel(run_one(experiment, trial, os.getpid()) for trial in trials)
        try:
            yield outcomes
        except TerminatedWorkerError as error:
            raise RuntimeError(
                f"a worker process of {experiment.name} was killed, for want of memory perhaps; "
                "what was finished is stored: run it again, or with fewer jobs"
            ) from error
        finally:
            outcomes.close()

    return execute


def _on_cluster(address):
    from distributed import Client, as_completed  # not everybody has a cluster

    @contextmanager
    def execute(experiment, trials):
        with Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False) as client:
            threads = client.nthreads()
            if set(threads.values()) - {1}:
                raise ValueError(
                    "every worker must have one thread, as trials seed torch's global generator: "
                    f"start them with --nthreads 1; got {threads}"
                )
            futures = [
                client.submit(_outcome, experiment, trial, pure=False, retries=3)
                for trial in trials
            ]
            yield (future.result() for future in as_completed(futures, loop=client.loop))

    return execute
