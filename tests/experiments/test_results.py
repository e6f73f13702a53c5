"""What holds for tables of results that are read."""

import subprocess
import sys

import numpy as np
import pandas as pd
import pytest

from lib.experiments import (
    EXPERIMENTS,
    ResultsTable,
    compare,
    cost,
    intervals,
    read_results,
    select,
    sides_table,
    summary,
)

TABLE = """\
masks,rate,seed,error,seconds,versions,processor,date,code
on,0.5,1,0.2,1.0,torch,"chip, 2 cores",today,0123456789ab
off,1.0,1000000,0.1,1.0,torch,"chip, 2 cores",today,unknown
on,0.5,0,0.25,1.0,torch,"chip, 2 cores",today,0123456789ab
off,1.0,0,nan,1.0,torch,"chip, 2 cores",today,unknown
"""


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        (tmp_path / "table.csv").write_text(text, encoding=encoding)
        return tmp_path

    return write


def test_results_have_their_types_and_the_order_in_which_configurations_come_first(write):
    frame = read_results("table", write(TABLE))
    assert frame["masks"].tolist() == ["on", "on", "off", "off"]
    assert frame["seed"].tolist() == [0, 1, 0, 1_000_000]
    assert (frame["rate"].dtype, frame["error"].dtype, frame["seed"].dtype) == (float, float, int)
    assert frame["processor"].unique().tolist() == ["chip, 2 cores"]
    assert len(select(frame, masks="on", seed=1)) == 1


@pytest.mark.parametrize(
    ("old", "new", "message"),
    [
        ("0.2,", "0.2x,", "row 2: error must be a number, got '0.2x'"),
        ("on,0.5,1,", "on,0.5,one,", "row 2: seed must be a whole number, got 'one'"),
        ("on,0.5,1,", "on,0.5,1.5,", "row 2: seed must be a whole number, got 1.5"),
        ("1.0,torch", ",torch", "row 2: seconds must be a number, got ''"),
        ("0.2,", "0,2,", "row 2: must have 9 fields, got 10"),
        ("unknown\non", "unknown\n\non", "row 4: must have 9 fields, got 0"),
        ("off,1.0,0,", "on,0.50,0.0,", "row 5: must be of another trial than row 4"),
        ('"chip', '"chip"', "row 2: "),
        ("seed,", "", "row 1: must have columns seed and seconds, got masks, rate, error"),
        ("on,0.5,0", "ón,0.5,0", "row 4: must be text in UTF-8"),
    ],
)
def test_a_damaged_table_is_an_error_that_names_file_and_row(write, old, new, message):
    folder = write(TABLE.replace(old, new, 1), "latin-1")
    with pytest.raises(ValueError, match=f"table.csv, {message}"):
        read_results("table", folder)


def test_a_table_that_is_not_there_is_an_error_that_says_which_are(write):
    with pytest.raises(FileNotFoundError, match="no table .*tabel.csv; there are: table"):
        read_results("tabel", write(TABLE))


def test_reading_loads_no_experiment_and_nothing_that_runs_one():
    code = (
        "import sys; from lib.experiments import compare, intervals, read_results, select\n"
        "read_results('reuters')\n"
        "print({name.rpartition('.')[2] for name in sys.modules if name.startswith('lib.')})\n"
        "assert not {'torch', 'joblib', 'distributed', 'sklearn', 'matplotlib'} & set(sys.modules)"
    )
    output = subprocess.check_output([sys.executable, "-c", code], encoding="utf-8")
    assert eval(output) == {"comparison", "experiments", "results", "validation"}


@pytest.mark.parametrize("name", EXPERIMENTS)
def test_a_stored_table_has_the_present_configurations_in_their_order(name):
    table = ResultsTable(EXPERIMENTS[name])
    rows = table.rows()
    stored = dict.fromkeys(table.key(row)[:-1] for row in rows)
    present = dict.fromkeys(trial.key[:-1] for trial in EXPERIMENTS[name].trials(None, rows))
    assert list(stored) == list(present)
    assert table.missing() == []


def test_a_comparison_is_paired_by_the_seeds_that_both_have():
    frame = pd.DataFrame(
        {"slope": [1, 1, 1, 2, 2], "seed": [0, 1, 2, 2, 0], "value": [1.0, 9.0, 2.0, 2.5, 3.5]}
    )
    found = compare(frame, "value", {"slope": 2}, {"slope": 1})
    assert found.n_seeds == 2
    assert found.mean == pytest.approx(np.mean([2.5, 0.5]))
    with pytest.raises(ValueError, match="one row a seed"):
        compare(frame, "value", {}, {"slope": 1})


def test_a_table_of_sides_says_what_each_chose_and_how_it_differs_from_the_first():
    rows = [
        (masks, rate, seed, error - 0.001 * seed, loss + 0.1 * seed)
        for masks, rate, error, loss in (("none", 0.1, 0.05, 0.5), ("units", 0.03, 0.04, 0.25))
        for seed in (0, 1)
    ]
    frame = pd.DataFrame(rows, columns=["masks", "rate", "seed", "test_error", "test_loss"])
    table = sides_table(frame, {"plain": {"masks": "none"}, "ours": {"masks": "units"}})
    assert table.to_dict("index") == {
        "plain": {
            **{"rate": "0.1", "error (%)": "4.95", "loss": "0.550"},
            **{"error − plain": "", "loss − plain": ""},
        },
        "ours": {
            **{"rate": "0.03", "error (%)": "3.95", "loss": "0.300"},
            **{"error − plain": "-1.00 [-1.00, -1.00]", "loss − plain": "-0.250 [-0.250, -0.250]"},
        },
    }


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


def test_a_summary_has_means_with_intervals_also_where_a_run_diverged(write):
    lines = summary(read_results("table", write(TABLE))).splitlines()
    assert "0.225 [-0.09266, 0.5427]" in lines[2]
    assert "nan" in lines[3]
