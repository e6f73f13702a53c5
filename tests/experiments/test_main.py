"""What the command line does and says: ``python -m lib.experiments``."""

import sys

import pytest
from toy_experiment import toy

from lib.experiments import EXPERIMENTS, ResultsTable, run_trial, runner
from lib.experiments.__main__ import main


@pytest.fixture
def call(tmp_path, capsys, monkeypatch):
    """Call it, with the toy as another experiment: its exit code, what it says, and its errors."""
    monkeypatch.setitem(EXPERIMENTS, "toy", toy())

    def call(*arguments):
        code = main(["--results", str(tmp_path), *arguments])
        return code, *capsys.readouterr()

    return call


def test_it_lists_runs_and_tells(call):
    assert call("table", "toy") == (0, "toy has no results yet\n", "")
    code, said, _ = call("run", "toy", "--seeds", "1", "--jobs", "1")
    assert code == 0
    assert "| slope" in said
    code, said, _ = call("status", "toy")
    assert code == 0
    assert "3 of 6 trials are done" in said
    code, said, _ = call("list")
    assert code == 0
    assert "A line" in said
    assert all(name in said for name in EXPERIMENTS)


def test_it_tells_rows_of_other_code_and_of_other_configurations(call, tmp_path):
    table = ResultsTable(toy(), tmp_path)
    row, _ = run_trial(toy(), toy().trials()[0])
    for seed, change in enumerate(({}, {"code": "unknown"}, {"code": "0" * 12}, {"slope": 4})):
        table.append(row | {"seed": seed} | change)
    others = [
        "1 rows do not say which code made them",
        "1 rows were made by other code",
        "1 rows are of other configurations",
    ]
    assert call("status", "toy")[1].splitlines()[:4] == ["2 of 6 trials are done", *others]
    assert call("run", "toy", "--jobs", "1")[1].splitlines()[-3:] == others


def test_a_damaged_table_does_not_end_the_list(call, tmp_path):
    (tmp_path / "mnist-size.csv").write_bytes(b"\xff\n")
    code, said, _ = call("list")
    assert code == 1
    assert "mnist-size.csv, row 1: must be text in UTF-8" in said
    assert all(name in said for name in EXPERIMENTS)


def test_it_says_what_failed(call, monkeypatch):
    monkeypatch.setitem(EXPERIMENTS, "toy", toy(fails=True))
    code, _, wrong = call("run", "toy", "--jobs", "1")
    assert code == 1
    assert "seed=1): ValueError: a trial that fails" in wrong


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


def test_a_scheduler_that_is_not_there_is_an_error_and_so_is_a_missing_package(call, monkeypatch):
    monkeypatch.setattr(runner, "SECONDS_TO_ANSWER", 0.5)
    code, _, wrong = call("run", "toy", "--dask", "tcp://127.0.0.1:9")
    assert code == 1
    assert "127.0.0.1:9" in wrong
    monkeypatch.setitem(sys.modules, "distributed", None)
    code, _, wrong = call("run", "toy", "--dask", "tcp://127.0.0.1:9")
    assert code == 1
    assert wrong.startswith("error: import of distributed halted")
