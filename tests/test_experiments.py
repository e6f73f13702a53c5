"""What holds for the runner of experiments: nothing finished is lost, nothing is counted twice."""

import csv
import os
import platform
import resource
import signal
import subprocess
import sys
import time
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import torch
import toy_experiment
from distributed import Client, LocalCluster
from matplotlib.image import imread
from toy_experiment import fatal_trial, small, toy

from lib.experiments import EXPERIMENTS, Experiment, ResultsTable, run, run_trial, runner
from lib.experiments.__main__ import main

TOY = Path(toy_experiment.__file__)


@pytest.fixture
def one_experiment(monkeypatch):
    """The command line, with the toy in place of the real experiments."""
    monkeypatch.setitem(EXPERIMENTS, "toy", toy())


def keys(table):
    return sorted(map(table.key, table.rows()))


def all_keys(experiment):
    return sorted(trial.key for trial in experiment.trials())


def wait_for(condition):
    """Wait for an event. Ten minutes are no limit to a busy machine; they end a test that hangs."""
    end = time.monotonic() + 600
    while not condition():
        assert time.monotonic() < end, "it did not happen"
        time.sleep(0.02)


# --- trials -----------------------------------------------------------------------------------


def test_a_trial_depends_on_its_configuration_and_its_seed_alone():
    experiment = toy()
    first, *others = experiment.trials()
    torch.manual_seed(99)
    row, _ = run_trial(experiment, first)
    torch.manual_seed(5)
    np.random.seed(5)  # noqa: NPY002
    again, _ = run_trial(experiment, first)
    assert row["value"] == again["value"]
    assert len({run_trial(experiment, trial)[0]["value"] for trial in others} | {row["value"]}) == 6


def test_a_trial_runs_on_one_thread_and_puts_the_number_of_threads_back():
    seen = []

    def trial(seed, *, slope):
        seen.append(torch.get_num_threads())
        return {"value": 0.0}

    experiment = small("threads", trial)
    torch.set_num_threads(2)
    try:
        run_trial(experiment, experiment.trials()[0])
        assert torch.get_num_threads() == 2
    finally:
        torch.set_num_threads(1)
    assert seen == [1]


def test_a_row_says_how_it_was_made():
    row, _ = run_trial(toy(), toy().trials()[0])
    assert float(row["seconds"]) >= 0
    assert row["code"] == toy().code
    assert f"torch-{torch.__version__}" in row["versions"]
    assert f"python-{platform.python_version()} " in row["versions"]
    assert "cores" in row["processor"]
    assert row["date"].startswith("20")
    assert row["date"].endswith("Z")


def test_a_trial_that_measures_something_else_is_an_error():
    experiment = small("x", lambda seed, slope: {"loss": 1.0})
    with pytest.raises(ValueError, match=r"must measure \['value'\], got \['loss'\]"):
        run_trial(experiment, experiment.trials()[0])


def test_configurations_with_different_settings_are_an_error():
    with pytest.raises(ValueError, match="must all have the settings"):
        Experiment("x", "", "", [{"a": 1}, {"b": 1}], ("value",), print)


def test_trials_come_seed_by_seed():
    assert [trial.seed for trial in toy().trials(3)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]


# --- running ----------------------------------------------------------------------------------


def test_a_run_stores_every_trial_once_and_a_second_run_adds_nothing(tmp_path):
    experiment = toy()
    table = ResultsTable(experiment, tmp_path)
    assert run(experiment, folder=tmp_path, n_jobs=1) == {}
    assert keys(table) == all_keys(experiment)
    before = table.path.read_bytes()
    run(experiment, folder=tmp_path, n_jobs=1)
    assert table.path.read_bytes() == before
    assert [path.name for path in tmp_path.iterdir() if path.suffix != ".lock"] == ["toy.csv"]


def test_more_seeds_add_only_the_new_ones(tmp_path):
    experiment = toy()
    run(experiment, folder=tmp_path, n_jobs=1, n_seeds=1)
    first = ResultsTable(experiment, tmp_path).rows()
    run(experiment, folder=tmp_path, n_jobs=1)
    assert ResultsTable(experiment, tmp_path).rows()[:3] == first
    assert keys(ResultsTable(experiment, tmp_path)) == all_keys(experiment)


@pytest.mark.slow
def test_one_process_and_two_find_the_same(tmp_path):
    experiment = toy()
    values = []
    for n_jobs in (1, 2):
        folder = tmp_path / str(n_jobs)
        run(experiment, folder=folder, n_jobs=n_jobs)
        table = ResultsTable(experiment, folder)
        values.append({table.key(row): row["value"] for row in table.rows()})
    assert values[0] == values[1]
    assert len(values[0]) == 6


def test_a_trial_that_fails_is_reported_and_the_others_are_stored(tmp_path):
    experiment = toy(fails=True)
    failed = run(experiment, folder=tmp_path, n_jobs=2)
    assert sorted(trial.configuration[0][1] for trial in failed) == [1, 2, 3]
    assert set(failed.values()) == {"ValueError: a trial that fails"}
    assert [row["seed"] for row in ResultsTable(experiment, tmp_path).rows()] == [0, 0, 0]


@pytest.mark.slow
def test_killed_in_the_middle_it_keeps_what_was_finished_and_goes_on(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
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
    assert keys(table) == all_keys(experiment)


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


def test_two_runs_at_once_don_t_add_to_one_table(tmp_path):
    with (
        ResultsTable(toy(), tmp_path).locked(),
        pytest.raises(RuntimeError, match="another process is adding to"),
    ):
        run(toy(), folder=tmp_path, n_jobs=1)


# --- the table --------------------------------------------------------------------------------


@pytest.fixture
def table(tmp_path):
    """A table with the rows of one seed."""
    run(toy(), folder=tmp_path, n_jobs=1, n_seeds=1)
    return ResultsTable(toy(), tmp_path)


@contextmanager
def room_for(path, n_bytes):
    """A file that takes so many bytes, and no more, as on a full disk."""
    limits = resource.getrlimit(resource.RLIMIT_FSIZE)
    resource.setrlimit(resource.RLIMIT_FSIZE, (path.stat().st_size + n_bytes, limits[1]))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_FSIZE, limits)


@pytest.mark.parametrize("room", [0, 30])
def test_a_full_disk_leaves_the_table_as_it_was_and_tells_the_row(table, room):
    before = table.path.read_bytes()
    row, _ = run_trial(toy(), toy().trials()[3])
    with room_for(table.path, room), pytest.raises(OSError, match="File too large") as error:
        table.append(row)
    assert table.path.read_bytes() == before
    told = next(csv.reader([str(error.value).partition("The row: ")[2]]))
    assert told == [str(row[name]) for name in table.columns]  # ready to be pasted


def test_wherever_a_row_was_torn_the_others_are_read_and_it_is_added_anew(table):
    rows, whole = table.rows(), table.path.read_bytes()
    start = whole.rindex(b"\n", 0, -1) + 1
    for end in (*range(start, len(whole)), 3, 0):  # in the last row, in the header, all
        table.path.write_bytes(whole[:end])
        kept = 2 if end >= start else 0
        assert table.rows() == rows[:kept]
        for row in rows[kept:]:
            table.append(row)
        assert table.rows() == rows


def test_a_row_is_added_to_the_file_which_may_be_linked(table, tmp_path):
    target = table.path.rename(tmp_path / "elsewhere.csv")
    table.path.symlink_to(target)
    before, inode = target.read_bytes(), target.stat().st_ino
    run(toy(), folder=tmp_path, n_jobs=1)
    assert table.path.is_symlink()
    assert target.stat().st_ino == inode
    assert target.read_bytes().startswith(before)
    assert keys(table) == all_keys(toy())


def test_a_row_is_never_added_twice(table):
    with pytest.raises(ValueError, match="has a row of"):
        table.append(table.rows()[0])


def test_trials_are_known_by_their_numbers_however_these_are_written(table, tmp_path):
    header, *lines = table.path.read_text(encoding="utf-8").splitlines()
    spreadsheet = [line.replace(",0,", ",0.0,", 1) for line in lines]
    table.path.write_text("\r\n".join([header, *spreadsheet, ""]), encoding="utf-8-sig")
    assert len(table.missing()) == 3
    run(toy(), folder=tmp_path, n_jobs=1)
    assert keys(table) == all_keys(toy())


def test_a_table_of_other_columns_is_an_error_and_is_left_alone(tmp_path):
    path = ResultsTable(toy(), tmp_path).path
    path.write_text("slope,seed,seconds\n1,0,1\n", encoding="utf-8")
    with pytest.raises(ValueError, match="move it away"):
        run(toy(), folder=tmp_path, n_jobs=1)
    assert path.read_text(encoding="utf-8") == "slope,seed,seconds\n1,0,1\n"


def test_a_picture_is_stored_beside_the_table(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)
    experiment = small("drawn", lambda seed, slope: {"value": 1.0, "picture": grey})
    run(experiment, folder=tmp_path, n_jobs=1)
    table = ResultsTable(experiment, tmp_path)
    picture = imread(table.picture_path(table.rows()[0]))
    np.testing.assert_array_equal((255 * picture).round(), grey)


# --- the command line -------------------------------------------------------------------------


def test_the_command_line_lists_runs_and_tells(tmp_path, capsys, one_experiment):
    options = ["--results", str(tmp_path)]
    assert main([*options, "table", "toy"]) == 0
    assert capsys.readouterr().out == "toy has no results yet\n"
    assert main([*options, "run", "toy", "--seeds", "1", "--jobs", "1"]) == 0
    assert "| slope" in capsys.readouterr().out
    assert main([*options, "status", "toy"]) == 0
    assert "3 of 6 trials are done" in capsys.readouterr().out
    assert main([*options, "list"]) == 0
    listed = capsys.readouterr().out
    assert "A line" in listed
    assert all(name in listed for name in EXPERIMENTS)


def test_the_command_line_tells_rows_of_other_code_and_of_other_configurations(
    tmp_path, capsys, one_experiment
):
    table = ResultsTable(toy(), tmp_path)
    row, _ = run_trial(toy(), toy().trials()[0])
    for seed, change in enumerate(({}, {"code": "unknown"}, {"code": "0" * 12}, {"slope": 4})):
        table.append(row | {"seed": seed} | change)
    assert main(["--results", str(tmp_path), "status", "toy"]) == 0
    assert capsys.readouterr().out.splitlines()[:4] == [
        "2 of 6 trials are done",
        "1 rows do not say which code made them",
        "1 rows were made by other code",
        "1 rows are of other configurations",
    ]


def test_a_damaged_table_does_not_end_the_list(tmp_path, capsys):
    (tmp_path / "mnist-depth.csv").write_bytes(b"\xff\n")
    assert main(["--results", str(tmp_path), "list"]) == 1
    listed = capsys.readouterr().out
    assert "mnist-depth.csv, row 1: must be text in UTF-8" in listed
    assert all(name in listed for name in EXPERIMENTS)


def test_the_command_line_says_what_failed(tmp_path, capsys, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "toy", toy(fails=True))
    assert main(["--results", str(tmp_path), "run", "toy", "--jobs", "1"]) == 1
    assert "seed=1): ValueError: a trial that fails" in capsys.readouterr().err


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["run", "nothing"], "invalid choice: 'nothing'"),
        (["run", "mnist-error", "--seeds", "0"], "must be at least 1, got 0"),
        (["run", "mnist-error", "--jobs", "two"], "invalid"),
        ([], "required"),
    ],
)
def test_a_wrong_call_says_what_is_wrong(capsys, arguments, message):
    with pytest.raises(SystemExit) as stop:
        main(arguments)
    assert stop.value.code == 2
    assert message in capsys.readouterr().err


def test_a_scheduler_that_is_not_there_is_an_error(tmp_path, capsys, one_experiment, monkeypatch):
    monkeypatch.setattr(runner, "SECONDS_TO_ANSWER", 0.5)
    options = ["--results", str(tmp_path), "run", "toy", "--dask", "tcp://127.0.0.1:9"]
    assert main(options) == 1
    assert "127.0.0.1:9" in capsys.readouterr().err


# --- a cluster --------------------------------------------------------------------------------


@pytest.fixture
def cluster(monkeypatch):
    """A scheduler in this process, and workers of one thread each in processes of their own."""
    monkeypatch.setattr(runner, "SECONDS_TO_ANSWER", 600)
    workers = []

    def start(n_workers, path=TOY.parent):
        path = os.pathsep.join([str(path), os.environ.get("PYTHONPATH", "")])
        command = [sys.executable, "-m", "distributed.cli.dask_worker", local.scheduler_address]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        for _ in range(n_workers):
            worker = subprocess.Popen(
                [*command, *options],
                env=os.environ | {"PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
            )
            workers.append(worker)
        with Client(local.scheduler_address, timeout=600, set_as_default=False) as client:
            client.wait_for_workers(n_workers, timeout=600)
        return workers

    with LocalCluster(n_workers=0, dashboard_address=":0") as local:
        local.start = start
        yield local
        for process in workers:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_on_a_cluster_that_loses_a_worker_every_trial_is_stored_once(tmp_path, cluster):
    workers = cluster.start(2)
    marks = tmp_path / "marks"
    marks.mkdir()
    experiment = toy(marks=str(marks))

    def lose_a_worker():
        wait_for(lambda: len(list(marks.iterdir())) == 5)  # each is in a trial of seed 1
        workers[0].kill()
        workers[0].wait()
        (marks / "go").touch()

    with ThreadPoolExecutor(1) as pool:
        losing = pool.submit(lose_a_worker)
        assert run(experiment, folder=tmp_path, dask=cluster.scheduler_address) == {}
        losing.result()
    assert keys(ResultsTable(experiment, tmp_path)) == all_keys(experiment)
    assert len(list(marks.glob("*-*"))) > 6  # the trial that was lost ran again
    rows, _ = zip(*(run_trial(toy(), trial) for trial in toy().trials()), strict=True)
    values = {tuple(map(float, (row["slope"], row["seed"], row["value"]))) for row in rows}
    on_cluster = ResultsTable(experiment, tmp_path).rows()
    assert {(row["slope"], row["seed"], row["value"]) for row in on_cluster} == values


@pytest.mark.slow
def test_a_cluster_that_loses_its_scheduler_is_an_error_in_a_line(tmp_path, cluster):
    cluster.start(1)
    marks = tmp_path / "marks"
    marks.mkdir()
    experiment = toy(marks=str(marks))
    table = ResultsTable(experiment, tmp_path)

    def lose_the_scheduler():
        wait_for(lambda: len(table.rows()) == 3 and len(list(marks.iterdir())) == 4)
        cluster.close()

    with ThreadPoolExecutor(1) as pool:
        losing = pool.submit(lose_the_scheduler)
        with pytest.raises(RuntimeError, match="lost its scheduler.*what was finished is stored"):
            run(experiment, folder=tmp_path, dask=cluster.scheduler_address)
        losing.result()
    assert [row["seed"] for row in table.rows()] == [0] * 3


@pytest.mark.slow
def test_a_cluster_to_which_no_worker_comes_is_an_error(tmp_path, cluster, monkeypatch):
    monkeypatch.setattr(runner, "SECONDS_TO_COME", 0.1)
    with pytest.raises(RuntimeError, match="no worker came to tcp.* in 0.1 seconds: start them"):
        run(toy(), folder=tmp_path, dask=cluster.scheduler_address)


@pytest.mark.slow
def test_a_cluster_without_the_trials_code_is_an_error(tmp_path, cluster):
    cluster.start(1, path="")
    with pytest.raises(RuntimeError, match="a worker at tcp.* must have this library, got: No mod"):
        run(toy(), folder=tmp_path, dask=cluster.scheduler_address)
    elsewhere = small("elsewhere", lambda seed, slope: {})
    elsewhere.trial.__module__ = "nowhere"
    with pytest.raises(RuntimeError, match="the scheduler at tcp.* must have this library"):
        run(elsewhere, folder=tmp_path, dask=cluster.scheduler_address)
