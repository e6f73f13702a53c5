"""What holds for the runner of experiments: nothing finished is lost, nothing is counted twice."""

import errno
import os
import platform
import signal
import subprocess
import sys
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import torch
from distributed import Client, LocalCluster
from events import wait_for
from matplotlib.image import imread
from toy_experiment import fatal_trial, toy

from lib.experiments import (
    EXPERIMENTS,
    Experiment,
    ResultsTable,
    compare,
    cost,
    intervals,
    mean_interval,
    read_results,
    run,
    run_trial,
    runner,
    select,
)
from lib.experiments.__main__ import main

TESTS = Path(__file__).parent


@pytest.fixture
def one_experiment(monkeypatch):
    """The command line, with the toy in place of the real experiments."""
    monkeypatch.setitem(EXPERIMENTS, "toy", toy())


def keys(table):
    return sorted(map(table.key, table.rows()))


def all_keys(experiment):
    return sorted(trial.key for trial in experiment.trials())


def is_running(pid):
    try:
        os.kill(pid, 0)
    except ProcessLookupError:
        return False
    return True


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

    experiment = Experiment("threads", "", "", [{"slope": 1}], ("value",), trial)
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
    assert f"torch-{torch.__version__}" in row["versions"]
    assert f"python-{platform.python_version()} " in row["versions"]
    assert "cores" in row["processor"]
    assert row["date"].startswith("20")
    assert row["date"].endswith("Z")


def test_a_trial_that_measures_something_else_is_an_error():
    experiment = Experiment("x", "", "", [{"a": 1}], ("error",), lambda seed, a: {"loss": 1.0})
    with pytest.raises(ValueError, match=r"must measure \['error'\], got \['loss'\]"):
        run_trial(experiment, experiment.trials()[0])


def test_configurations_with_different_settings_are_an_error():
    with pytest.raises(ValueError, match="must all have the settings"):
        Experiment("x", "", "", [{"a": 1}, {"b": 1}], (), None)


def test_trials_come_seed_by_seed():
    assert [trial.seed for trial in toy().trials(3)] == [0, 0, 0, 1, 1, 1, 2, 2, 2]
    with pytest.raises(ValueError, match="n_seeds must be at least 1, got 0"):
        toy().trials(0)


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
    assert [row["seed"] for row in ResultsTable(experiment, tmp_path).rows()] == ["0", "0", "0"]


@pytest.mark.slow
def test_killed_in_the_middle_it_keeps_what_was_finished_and_goes_on(tmp_path):
    marks = tmp_path / "marks"
    marks.mkdir()
    experiment = toy(marks=str(marks))
    table = ResultsTable(experiment, tmp_path)
    command = [sys.executable, str(TESTS / "toy_experiment.py"), str(tmp_path), str(marks)]
    process = subprocess.Popen(command, start_new_session=True, env=os.environ)
    try:
        wait_for(lambda: len(table.rows()) == 3 and len(list(marks.iterdir())) == 5)
    finally:
        os.kill(process.pid, signal.SIGKILL)  # the runner alone: its workers are orphans
        process.wait()
    workers = {int(mark.name.split("-")[2]) for mark in marks.iterdir()}
    wait_for(lambda: not any(map(is_running, workers)))  # nothing computes on for nobody
    finished = table.rows()
    assert [row["seed"] for row in finished] == ["0"] * 3
    (marks / "go").touch()
    run(experiment, folder=tmp_path, n_jobs=2)
    assert table.rows()[:3] == finished
    assert keys(table) == all_keys(experiment)


@pytest.mark.slow
def test_a_worker_that_is_killed_is_an_error_that_says_so_and_costs_nothing_finished(tmp_path):
    settings = [{"folder": str(tmp_path)}]
    dies = Experiment("dies", "", "", settings, ("value",), fatal_trial, n_seeds=2)
    with pytest.raises(RuntimeError, match="a worker process of dies was killed"):
        run(dies, folder=tmp_path, n_jobs=2)
    assert [row["seed"] for row in ResultsTable(dies, tmp_path).rows()] == ["0"]


def test_two_runs_at_once_don_t_add_to_one_table(tmp_path):
    with (
        ResultsTable(toy(), tmp_path).locked(),
        pytest.raises(RuntimeError, match="another process is adding to"),
    ):
        run(toy(), folder=tmp_path, n_jobs=1)


# --- the table --------------------------------------------------------------------------------


class FullDisk:
    """A file on a disk that takes a few bytes, and no more."""

    def __init__(self, file, room):
        self.file, self.room = file, room

    def write(self, text):
        self.file.write(text[: self.room])
        self.room -= len(text)
        if self.room < 0:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    def __getattr__(self, name):
        return getattr(self.file, name)

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.file.close()


@pytest.fixture
def full_disk(monkeypatch):
    def fill(room):
        path_open = Path.open

        def open_(self, mode="r", *args, **kwargs):
            file = path_open(self, mode, *args, **kwargs)
            return FullDisk(file, room) if "w" in mode else file

        monkeypatch.setattr(Path, "open", open_)

    return fill


@pytest.mark.parametrize("room", [0, 30, 200])
def test_a_full_disk_leaves_the_table_as_it_was_and_tells_the_row(tmp_path, full_disk, room):
    experiment = toy()
    run(experiment, folder=tmp_path, n_jobs=1, n_seeds=1)
    table = ResultsTable(experiment, tmp_path)
    before = table.path.read_bytes()
    full_disk(room)
    with pytest.raises(OSError, match="No space left on device") as error:
        run(experiment, folder=tmp_path, n_jobs=1)
    assert error.value.errno == errno.ENOSPC
    assert "The row: 1,1," in str(error.value)
    assert table.path.read_bytes() == before
    assert not table.draft.exists()


def test_a_draft_that_a_killed_process_left_is_cleared_away(tmp_path):
    table = ResultsTable(toy(), tmp_path)
    table.draft.write_text("slope,se", encoding="utf-8")
    run(toy(), folder=tmp_path, n_jobs=1)
    assert not table.draft.exists()
    assert keys(table) == all_keys(toy())


def test_a_row_is_never_added_twice(tmp_path):
    table = ResultsTable(toy(), tmp_path)
    row, _ = run_trial(toy(), toy().trials()[0])
    table.append(row)
    with pytest.raises(ValueError, match="has a row of"):
        table.append(row)
    assert len(table.rows()) == 1


def test_a_table_of_other_columns_is_an_error_and_is_left_alone(tmp_path):
    table = ResultsTable(toy(), tmp_path)
    table.path.write_text("slope,seed\n1,0\n", encoding="utf-8")
    with pytest.raises(ValueError, match="move it away"):
        run(toy(), folder=tmp_path, n_jobs=1)
    assert table.path.read_text(encoding="utf-8") == "slope,seed\n1,0\n"


def test_a_row_that_was_cut_by_hand_is_an_error(tmp_path):
    run(toy(), folder=tmp_path, n_jobs=1)
    table = ResultsTable(toy(), tmp_path)
    table.path.write_bytes(table.path.read_bytes()[:-60])
    with pytest.raises(ValueError, match="row 7, must have"):
        table.rows()


def test_a_picture_is_stored_beside_the_table(tmp_path):
    grey = np.arange(256, dtype=np.uint8).reshape(16, 16)

    def trial(seed, *, slope):
        return {"value": 1.0, "picture": grey}

    experiment = Experiment("drawn", "", "", [{"slope": 1}], ("value",), trial, n_seeds=1)
    run(experiment, folder=tmp_path, n_jobs=1)
    table = ResultsTable(experiment, tmp_path)
    picture = imread(table.picture_path(table.rows()[0]))
    np.testing.assert_array_equal((255 * picture).round(), grey)


# --- summaries --------------------------------------------------------------------------------


def test_results_are_read_with_their_types_and_in_the_order_of_the_configurations(tmp_path):
    run(toy(), folder=tmp_path, n_jobs=1)
    frame = read_results(toy(), tmp_path)
    assert frame["slope"].tolist() == [1, 1, 2, 2, 3, 3]
    assert frame["seed"].tolist() == [0, 1] * 3
    assert frame["value"].dtype == float
    assert len(select(frame, slope=2, seed=1)) == 1


def test_rows_of_former_configurations_are_kept_but_not_shown(tmp_path):
    run(toy(fails=True), folder=tmp_path, n_jobs=1, n_seeds=1)
    run(toy(fails=False), folder=tmp_path, n_jobs=1)
    assert len(ResultsTable(toy(fails=False), tmp_path).rows()) == 3 + 6
    assert read_results(toy(fails=False), tmp_path)["fails"].tolist() == [False] * 6


def test_a_comparison_is_paired_by_the_seeds_that_both_have(tmp_path):
    run(toy(), folder=tmp_path, n_jobs=1, n_seeds=3)
    frame = read_results(toy(), tmp_path)
    frame = frame.drop(select(frame, slope=1, seed=1).index)
    found = compare(frame, "value", {"slope": 2}, {"slope": 1})
    values = [
        select(frame, slope=2, seed=s).value.item() - select(frame, slope=1, seed=s).value.item()
        for s in (0, 2)
    ]
    assert found.n_seeds == 2
    assert found.mean == pytest.approx(np.mean(values))
    with pytest.raises(ValueError, match="one row a seed"):
        compare(frame, "value", {}, {"slope": 1})


def test_the_interval_is_student_s():
    mean, low, high = mean_interval([1, 2, 3, 4, 5])
    assert mean == 3
    assert high - mean == pytest.approx(mean - low)
    assert high - mean == pytest.approx(2.776445 * np.sqrt(2.5 / 5))  # t for 4 degrees of freedom
    assert all(np.isnan(mean_interval([1.0])[1:]))


def test_a_table_of_intervals_has_a_row_for_each_setting_in_the_readers_unit():
    frame = pd.DataFrame(
        {
            **{"net": list("aabb"), "masks": ["off", "on"] * 2, "seed": [0, 0, 0, 0]},
            **{"error": [0.1, 0.2, 0.3, 0.4], "seconds": [30.0, 30.0, 60.0, 120.0]},
        }
    )
    table = intervals(frame, ["net", "masks"], "error", scale=100, digits=1)
    assert table["mean"].tolist() == ["10.0", "20.0", "30.0", "40.0"]
    assert table["seeds"].tolist() == ["1"] * 4
    assert table.index.names == ["net", "masks"]
    with pytest.raises(ValueError, match="by must tell the rows of a seed apart, got 'net'"):
        intervals(frame, "net", "error")
    assert cost(frame) == "4 trials, 4 minutes of one core"


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
def cluster():
    """A scheduler in this process, and two workers of one thread each in processes of their own."""
    path = os.pathsep.join([str(TESTS), os.environ.get("PYTHONPATH", "")])
    with LocalCluster(n_workers=0, dashboard_address=":0") as local:
        address = local.scheduler_address
        command = [sys.executable, "-m", "distributed.cli.dask_worker", address]
        options = ["--nthreads", "1", "--no-nanny", "--no-dashboard", "--host", "127.0.0.1"]
        workers = [
            subprocess.Popen(
                [*command, *options],
                env=os.environ | {"PYTHONPATH": path},
                stdout=subprocess.DEVNULL,
                stderr=subprocess.DEVNULL,
                start_new_session=True,
            )
            for _ in range(2)
        ]
        with Client(address, timeout=600, set_as_default=False) as client:
            client.wait_for_workers(2, timeout=600)
        yield address, workers
        for process in workers:
            process.kill()
            process.wait()


@pytest.mark.slow
def test_on_a_cluster_that_loses_a_worker_every_trial_is_stored_once(
    tmp_path, cluster, monkeypatch
):
    monkeypatch.setattr(runner, "SECONDS_TO_ANSWER", 600)
    address, workers = cluster
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
        assert run(experiment, folder=tmp_path, dask=address) == {}
        losing.result()
    assert keys(ResultsTable(experiment, tmp_path)) == all_keys(experiment)
    assert len(list(marks.glob("*-*"))) > 6  # the trial that was lost ran again
    local = tmp_path / "local"
    run(toy(), folder=local, n_jobs=1)
    on_cluster, here = read_results(experiment, tmp_path), read_results(toy(), local)
    assert on_cluster["value"].tolist() == here["value"].tolist()
