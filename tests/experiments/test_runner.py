"""What holds for the runner of experiments: nothing finished is lost, nothing is counted twice."""

import os
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import pytest
import toy_experiment
from distributed import Client, LocalCluster
from toy_experiment import assert_complete, fatal_trial, small, toy

from lib.experiments import ResultsTable, run, runner

TOY = Path(toy_experiment.__file__)


def wait_for(condition):
    """Wait for an event. Ten minutes are no limit to a busy machine; they end a test that hangs."""
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


@pytest.fixture
def marks(tmp_path):
    """A folder in which trials leave marks, and find the sign to go on."""
    marks = tmp_path / "marks"
    marks.mkdir()
    return marks


# --- on this machine


@pytest.mark.parametrize("n_jobs", [1, 2])
def test_a_run_stores_every_trial_once_and_a_second_run_adds_nothing(tmp_path, n_jobs):
    table = ResultsTable(toy(), tmp_path)
    assert run(toy(), folder=tmp_path, n_jobs=n_jobs) == {}
    assert_complete(table)
    before = table.path.read_bytes()
    run(toy(), folder=tmp_path, n_jobs=n_jobs)
    assert table.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["toy.csv"]


def test_more_seeds_add_only_the_new_ones(tmp_path):
    table = ResultsTable(toy(), tmp_path)
    run(toy(), folder=tmp_path, n_jobs=1, n_seeds=1)
    first = table.rows()
    run(toy(), folder=tmp_path, n_jobs=1)
    assert table.rows()[:3] == first
    assert_complete(table)


def test_a_trial_that_fails_is_reported_and_the_others_are_stored(tmp_path):
    experiment = toy(fails=True)
    failed = run(experiment, folder=tmp_path, n_jobs=2)
    assert sorted(trial.configuration[0][1] for trial in failed) == [1, 2, 3]
    assert set(failed.values()) == {"ValueError: a trial that fails"}
    assert [row["seed"] for row in ResultsTable(experiment, tmp_path).rows()] == [0, 0, 0]


@pytest.mark.slow
def test_killed_in_the_middle_it_keeps_what_was_finished_and_goes_on(tmp_path, marks):
    experiment = toy(marks=str(marks))
    table = ResultsTable(experiment, tmp_path)
    process = subprocess.Popen([sys.executable, TOY, tmp_path, marks], stdout=subprocess.PIPE)
    try:
        wait_for(lambda: len(table.rows()) == 3 and len(list(marks.iterdir())) == 5)
    finally:
        process.kill()  # the runner alone
        process.communicate(timeout=600)  # its workers, which have its output too, end with it
    finished = table.rows()
    assert [row["seed"] for row in finished] == [0] * 3
    (marks / "go").touch()
    run(experiment, folder=tmp_path, n_jobs=2)
    assert table.rows()[:3] == finished
    assert_complete(table)


@pytest.mark.slow
def test_killed_at_start_up_it_leaves_no_worker_behind(tmp_path):
    """It is killed when it sends the first trial; its workers have just been started."""
    process = subprocess.run(
        [sys.executable, TOY, tmp_path, "none"], capture_output=True, timeout=600
    )
    assert process.returncode == -signal.SIGKILL


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_that_says_so_and_costs_nothing_finished(tmp_path):
    dies = small("dies", fatal_trial, n_seeds=2, folder=str(tmp_path))
    with pytest.raises(RuntimeError, match="a worker process of dies was killed"):
        run(dies, folder=tmp_path, n_jobs=2)
    assert [row["seed"] for row in ResultsTable(dies, tmp_path).rows()] == [0]


# --- on a cluster


@pytest.fixture
def cluster(monkeypatch):
    """A scheduler in this process, and workers of one thread each in processes of their own."""
    monkeypatch.setattr(runner, "SECONDS_TO_ANSWER", 600)
    workers = []

    def start(n_workers, path=TOY.parent):
        path = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "distributed.cli.dask_worker", local.scheduler_address]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        settings = {"stdout": subprocess.DEVNULL, "stderr": subprocess.DEVNULL}
        settings["env"] = os.environ | {"PYTHONPATH": path}
        workers.extend(subprocess.Popen([*command, *options], **settings) for _ in range(n_workers))
        with Client(local.scheduler_address, timeout=600, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=600)
        return workers

    with LocalCluster(n_workers=0, dashboard_address=":0") as local:
        local.start = start
        yield local
        for process in workers:
            process.kill()
            process.wait()


@contextmanager
def meanwhile(function):
    """Call a function in a thread of its own, and wait for it at the end."""
    with ThreadPoolExecutor(1) as pool:
        called = pool.submit(function)
        yield
        called.result()


@pytest.mark.slow
def test_on_a_cluster_that_loses_a_worker_every_trial_is_stored_once(tmp_path, marks, cluster):
    workers = cluster.start(2)
    experiment = toy(marks=str(marks))

    def lose_a_worker():
        wait_for(lambda: len(list(marks.iterdir())) == 5)  # each is in a trial of seed 1
        workers[0].kill()
        workers[0].wait()
        (marks / "go").touch()

    with meanwhile(lose_a_worker):
        assert run(experiment, folder=tmp_path, dask=cluster.scheduler_address) == {}
    assert_complete(ResultsTable(experiment, tmp_path))
    assert len(list(marks.glob("*-*"))) > 6  # the trial that was lost ran again


@pytest.mark.slow
def test_a_cluster_that_loses_its_scheduler_is_an_error_in_a_line(tmp_path, marks, cluster):
    cluster.start(1)
    experiment = toy(marks=str(marks))
    table = ResultsTable(experiment, tmp_path)

    def lose_the_scheduler():
        wait_for(lambda: len(table.rows()) == 3 and len(list(marks.iterdir())) == 4)
        cluster.close()

    with (
        meanwhile(lose_the_scheduler),
        pytest.raises(RuntimeError, match="lost its scheduler.*what was finished is stored"),
    ):
        run(experiment, folder=tmp_path, dask=cluster.scheduler_address)
    assert [row["seed"] for row in table.rows()] == [0] * 3


@pytest.mark.slow
def test_a_cluster_that_has_no_worker_or_loses_the_last_one_is_an_error(
    tmp_path, marks, cluster, monkeypatch
):
    monkeypatch.setattr(runner, "SECONDS_TO_COME", 0.1)
    with pytest.raises(RuntimeError, match="no worker came to tcp.* in 0.1 seconds; .*: start"):
        run(toy(), folder=tmp_path, dask=cluster.scheduler_address)
    workers = cluster.start(1)
    experiment = toy(marks=str(marks))
    table = ResultsTable(experiment, tmp_path)

    def lose_the_worker():
        wait_for(lambda: len(table.rows()) == 3 and len(list(marks.iterdir())) == 4)
        workers[0].kill()

    with meanwhile(lose_the_worker), pytest.raises(RuntimeError, match="no worker came to tcp"):
        run(experiment, folder=tmp_path, dask=cluster.scheduler_address)
    assert [row["seed"] for row in table.rows()] == [0] * 3


@pytest.mark.slow
def test_a_cluster_without_the_trials_code_is_an_error(tmp_path, cluster):
    cluster.start(1, path="")
    with pytest.raises(RuntimeError, match="a worker at tcp.* must have this library, got: No mod"):
        run(toy(), folder=tmp_path, dask=cluster.scheduler_address)
    elsewhere = small("elsewhere", lambda seed, slope: {})
    elsewhere.trial.__module__ = "nowhere"
    with pytest.raises(RuntimeError, match="the scheduler at tcp.* must have this library"):
        run(elsewhere, folder=tmp_path, dask=cluster.scheduler_address)
