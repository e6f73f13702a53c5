"""What holds for a table on disk: no row is lost, and none is there twice."""

import csv
import resource
from contextlib import contextmanager

import numpy as np
import pytest
from matplotlib.image import imread
from toy_experiment import assert_complete, small, toy

from lib.experiments import ResultsTable, run, run_trial


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
    assert_complete(table)


def test_a_row_is_never_added_twice(table):
    with pytest.raises(ValueError, match="has a row of"):
        table.append(table.rows()[0])


def test_trials_are_known_by_their_numbers_however_these_are_written(table, tmp_path):
    header, *lines = table.path.read_text(encoding="utf-8").splitlines()
    spreadsheet = [line.replace(",0,", ",0.0,", 1) for line in lines]
    table.path.write_text("\r\n".join([header, *spreadsheet, ""]), encoding="utf-8-sig")
    assert len(table.missing()) == 3
    run(toy(), folder=tmp_path, n_jobs=1)
    assert_complete(table)


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


def test_two_processes_don_t_add_to_one_table(table, tmp_path):
    with table.locked(), pytest.raises(RuntimeError, match="another process is adding to"):
        run(toy(), folder=tmp_path, n_jobs=1)
