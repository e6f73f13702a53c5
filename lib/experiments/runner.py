"""Run what is missing of an experiment: here with joblib, or on a Dask cluster."""

import ctypes
import logging
import os
import signal
import sys
import time
from concurrent.futures import CancelledError
from contextlib import contextmanager
from functools import partial
from importlib import import_module

from joblib import Parallel, delayed
from joblib.externals.loky.process_executor import TerminatedWorkerError
from tqdm import tqdm

from lib.experiments.experiment import EXPERIMENT, run_trial
from lib.experiments.results import RESULTS
from lib.experiments.table import ResultsTable
from lib.validation import COUNT, PATH, TEXT, Optional, declared

SECONDS_TO_ANSWER = 10  # a scheduler that is there answers at once
SECONDS_TO_COME = 60  # so long may a cluster have no worker


@declared(
    experiment=EXPERIMENT, folder=PATH, n_seeds=Optional(COUNT), n_jobs=COUNT, dask=Optional(TEXT)
)
def run(experiment, *, folder=RESULTS, n_seeds=None, n_jobs=2, dask=None):
    """Run the trials of an experiment that have no row yet, and store each when it is done.

    Parameters
    ----------
    experiment : lib.experiments.Experiment
    folder : path
        Where its table is.
    n_seeds, n_jobs : int
        Seeds 0, 1, ... of each configuration, and trials at a time, each on one thread.
    dask : str, optional
        Address of a Dask scheduler, ``tcp://host:port``, to run the trials in place of this
        machine. The scheduler needs this library; its workers need the library, the data, and one
        thread each.

    Returns
    -------
    dict of Trial to str
        The trials that failed, and why. The others are in the table.

    Raises
    ------
    RuntimeError
        If another process is adding to the same table, a worker process died, or the cluster has
        no workers, lacks the library, or was lost.
    OSError
        If a row cannot be written: the message holds the row.
    """
    failed = {}
    with ResultsTable(experiment, folder).locked() as table:
        # what is run may depend on what was found: `protocol.Comparison`
        while missing := [trial for trial in table.missing(n_seeds) if trial not in failed]:
            if dask is None:
                execution = _on_this_machine(experiment, missing, n_jobs)
            else:
                execution = _on_cluster(experiment, missing, dask)
            with (
                execution as outcomes,
                tqdm(outcomes, desc=experiment.name, total=len(missing), unit="trial") as bar,
            ):
                for trial, result, error in bar:
                    if error is None:
                        table.append(*result)
                    else:
                        failed[trial] = error
    return failed


def _outcome(experiment, trial):
    """Run a trial: its result, or what went wrong; one failure does not stop the others."""
    try:
        return trial, run_trial(experiment, trial), None
    except Exception as error:
        return trial, None, f"{type(error).__name__}: {error}"


@contextmanager
def _on_this_machine(experiment, trials, n_jobs):
    settings = {"pre_dispatch": n_jobs, "initializer": _end_with, "initargs": (os.getpid(),)}
    parallel = Parallel(n_jobs, return_as="generator_unordered", **settings)
    outcomes = parallel(delayed(_outcome)(experiment, trial) for trial in trials)
    try:
        yield outcomes
    except TerminatedWorkerError as error:
        raise RuntimeError(
            f"a worker process of {experiment.name} was killed, for want of memory perhaps; "
            "what was finished is stored: run it again, or with fewer jobs"
        ) from error
    finally:
        outcomes.close()


def _end_with(runner):
    """End this worker process with the one that started it: else it would compute for nobody.

    On Linux the kernel sees to it. Elsewhere a worker ends some minutes after its trial.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(1, signal.SIGKILL)  # PR_SET_PDEATHSIG
    if os.getppid() != runner:  # it ended before that
        os._exit(1)


@contextmanager
def _on_cluster(experiment, trials, address):
    from distributed import Client, KilledWorker, as_completed  # not everybody has a cluster
    from distributed.comm import CommClosedError
    from distributed.utils import silence_logging_cmgr

    module = experiment.trial.__module__

    def load():  # sent with its code: it must arrive where this library is not
        import_module(module)

    with (
        silence_logging_cmgr(logging.CRITICAL),
        Client(address, timeout=SECONDS_TO_ANSWER, set_as_default=False) as client,
    ):
        try:
            client.wait_for_workers(1, timeout=SECONDS_TO_COME)
        except TimeoutError:
            raise _no_worker(address) from None
        for place, call in (("the scheduler", client.run_on_scheduler), ("a worker", client.run)):
            try:
                call(load)
            except ImportError as error:
                raise RuntimeError(
                    f"{place} at {address} must have this library, got: {error}"
                ) from None
        threads = client.nthreads()
        if set(threads.values()) - {1}:
            raise ValueError(
                "every worker must have one thread, as trials seed torch's global generator: "
                f"start them with --nthreads 1; got {threads}"
            )
        futures = client.map(partial(_outcome, experiment), trials, pure=False, retries=3)
        try:
            yield _results(client, as_completed(futures, loop=client.loop))
        except (CancelledError, CommClosedError, KilledWorker) as error:
            raise RuntimeError(
                f"the cluster at {address} lost its scheduler, or a trial ended its workers "
                f"({type(error).__name__}); what was finished is stored: run it again"
            ) from None


def _results(client, futures):
    """Yield what is finished, as long as there are workers."""
    seen = time.monotonic()
    while not futures.is_empty():
        if futures.has_ready():
            yield next(futures).result()
        elif client.scheduler_info()["workers"]:
            seen = time.monotonic()
        elif time.monotonic() > seen + SECONDS_TO_COME:
            raise _no_worker(client.scheduler.address)
        time.sleep(0.05)


def _no_worker(address):
    return RuntimeError(
        f"no worker came to {address} in {SECONDS_TO_COME} seconds; what was finished is stored: "
        f"start workers with dask worker {address} --nthreads 1"
    )
