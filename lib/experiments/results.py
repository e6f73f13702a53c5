"""Tables of results, read: no experiment is loaded, and nothing that could run one."""

import base64
import csv
import io
import zlib
from pathlib import Path

import numpy as np
import pandas as pd

from lib.comparison import mean_interval, paired_difference
from lib.validation import FINITE, PATH, TEXT, Instance, Many, Whole, declared

RESULTS = Path(__file__).parents[2] / "book" / "reproductions" / "results"
CIRCUMSTANCES = ("seconds", "versions", "processor", "date", "code")

FRAME = Instance(pd.DataFrame, "a pandas.DataFrame", pd.DataFrame)
SETTINGS = Instance(dict, "a dict of settings", dict)
COLUMNS = Instance((str, list), "the name of a column, or a list of names", lambda: "seed")


def as_value(text):
    """The whole number, number or truth value that a field of a table says, or its text."""
    for number in (int, float):
        try:
            return number(text)
        except ValueError:
            pass
    return {"True": True, "False": False}.get(text, text)


def examples_in_text(chosen):
    """Say in a field of a table which of n examples are meant: bool, shape (n,)."""
    packed = zlib.compress(np.packbits(np.asarray(chosen)).tobytes(), 9)
    return f"{len(chosen)}:{base64.b64encode(packed).decode()}"


def examples_of_text(text):
    """Read what `examples_in_text` says."""
    n, _, packed = text.partition(":")
    bits = np.frombuffer(zlib.decompress(base64.b64decode(packed)), np.uint8)
    return np.unpackbits(bits, count=int(n)).astype(bool)


def read_rows(path):
    """Read a table of finished trials, and check it: its columns, and a dict for each row.

    Columns are settings, "seed", metrics, and how each trial was run (`CIRCUMSTANCES`). There are
    none if there is no table. A last line without its end does not count: the process that wrote it
    was killed. What is damaged is a ValueError that names the row.
    """
    whole = path.read_bytes().rpartition(b"\n")[0] if path.exists() else b""
    rows, row_of, number = [], {}, 1
    try:
        lines = csv.reader(io.StringIO(whole.decode("utf-8-sig"), newline=""), strict=True)
        columns = next(lines, None)
        if columns is None:
            return [], []
        if not {"seed", "seconds"} <= set(columns):
            raise ValueError(f"must have columns seed and seconds, got {', '.join(columns)}")
        names, measured = _parts(columns)
        for fields in lines:
            number = lines.line_num
            if len(fields) != len(columns):
                raise ValueError(f"must have {len(columns)} fields, got {len(fields)}")
            row = dict(zip(columns, fields, strict=True))
            row |= {name: as_value(row[name]) for name in (*names, "seed", *measured, "seconds")}
            for name in ("seed", *measured, "seconds"):
                if isinstance(row[name], str | bool) or (name == "seed" and row[name] % 1):
                    whole_number = "a whole number" if name == "seed" else "a number"
                    raise ValueError(f"{name} must be {whole_number}, got {row[name]!r}")
            trial = tuple(row[name] for name in (*names, "seed"))
            if row_of.setdefault(trial, number) != number:
                raise ValueError(f"must be of another trial than row {row_of[trial]}, got {trial}")
            rows.append(row)
    except UnicodeDecodeError as error:
        number = 1 + whole.count(b"\n", 0, error.start)
        raise ValueError(f"{path}, row {number}: must be text in UTF-8") from None
    except (csv.Error, ValueError) as error:
        raise ValueError(f"{path}, row {number}: {error}") from None
    return columns, rows


def _parts(columns):
    """Names of the settings, and of the metrics."""
    columns = list(columns)
    seed, seconds = columns.index("seed"), columns.index("seconds")
    return columns[:seed], columns[seed + 1 : seconds]


@declared(name=TEXT, folder=PATH)
def read_results(name, folder=RESULTS):
    """Read the finished trials of an experiment.

    Parameters
    ----------
    name : str
        Of the experiment, such as ``"mnist-error"``.
    folder : path
        Where its table is.

    Returns
    -------
    pandas.DataFrame
        A row a trial: settings, seed, metrics, circumstances. Configurations are in the order in
        which they come first in the table, and the rows of one by their seeds.

    Raises
    ------
    FileNotFoundError
        If there is no such table.
    ValueError
        If the table is damaged: the message names file and row.
    """
    path = Path(folder) / f"{name}.csv"
    columns, rows = read_rows(path)
    if not columns:
        names = ", ".join(sorted(each.stem for each in path.parent.glob("*.csv")))
        raise FileNotFoundError(f"there is no table {path}; there are: {names or 'none'}")
    settings, metrics = _parts(columns)
    frame = pd.DataFrame(rows, columns=columns)
    frame = frame.astype({"seed": int} | dict.fromkeys((*metrics, "seconds"), float))
    configuration = frame.groupby(settings, sort=False).ngroup()
    return frame.iloc[np.lexsort((frame["seed"], configuration))].reset_index(drop=True)


@declared(frame=FRAME)
def select(frame, **values):
    """Pick the rows of a table that have the given values, by column.

    Parameters
    ----------
    frame : pandas.DataFrame
    **values
    """
    for name, value in values.items():
        frame = frame[frame[name] == value]
    return frame


@declared(frame=FRAME, choices=Many(TEXT), by=TEXT)
def at_best(frame, choices, by):
    """Pick, of a comparison (`lib.experiments.protocol`), each side at its best, with every seed.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `read_results`.
    choices : sequence of str
        The settings that each side chooses.
    by : str
        What was measured on validation data: its lowest mean is the best, over the seeds with which
        all choices of a side were tried. Of equal ones the lowest settings are taken; NaN, of a run
        that was lost, is the worst.
    """
    settings, _ = _parts(frame.columns)
    best = []
    for _, side in frame.groupby([name for name in settings if name not in choices], sort=False):
        measured = side.assign(**{by: side[by].fillna(np.inf)})
        tried = measured.pivot(index="seed", columns=choices, values=by).dropna()
        found = tried.mean().idxmin()
        found = found if isinstance(found, tuple) else (found,)
        best.append(select(side, **dict(zip(choices, found, strict=True))))
    return pd.concat(best)


@declared(frame=FRAME, metric=TEXT, ours=SETTINGS, baseline=SETTINGS)
def compare(frame, metric, ours, baseline):
    """Compare two configurations, ours - baseline, paired by the seeds that both have.

    Where the table says which test examples each network has wrong, the interval of "test_error"
    counts the choice of these examples too: all seeds are tested on the same ones.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `read_results`.
    metric : str
    ours, baseline : dict
        Settings and values, for `select`: they pick one row a seed.

    Returns
    -------
    lib.comparison.Comparison

    Raises
    ------
    ValueError
        If the settings pick more than one row of a seed.
    """
    by_example = metric == "test_error" and "wrong" in frame
    sides = []
    for picked in (ours, baseline):
        rows = select(frame, **picked)
        if rows["seed"].duplicated().any():
            raise ValueError(f"{picked} must pick one row a seed, got several")
        sides.append(rows.set_index("seed")["wrong" if by_example else metric])
    sides = sides[0].align(sides[1], join="inner")
    if by_example:
        sides = [np.array([examples_of_text(text) for text in side], float) for side in sides]
    return paired_difference(*sides)


@declared(best=FRAME, sides=SETTINGS, choices=Many(TEXT))
def sides_table(best, sides, choices=("rate",)):
    """Tabulate the sides of a comparison: what each chose, its error and loss, and by how much.

    Parameters
    ----------
    best : pandas.DataFrame
        From `at_best`.
    sides : dict of dict
        By name, the settings of each side. The first is what the others are compared with.
    choices : sequence of str
        The settings to show.

    Returns
    -------
    pandas.DataFrame of str
        A row a side; errors in per cent, their differences in points, with 95 % intervals.
    """
    rows, (first, *_) = {}, sides.values()
    for name, side in sides.items():
        own = select(best, **side)
        row = {choice: f"{own[choice].iloc[0]:g}" for choice in choices}
        for what, scale, digits in (("error (%)", 100, 2), ("loss", 1, 3)):
            metric = f"test_{what.split()[0]}"
            row[what] = f"{scale * own[metric].mean():.{digits}f}"
            if side is not first:
                low, mean, high = (
                    f"{scale * each:+.{digits}f}"
                    for each in np.sort(compare(best, metric, side, first)[:3])
                )
                row[f"{what.split()[0]} − {next(iter(sides))}"] = f"{mean} [{low}, {high}]"
        rows[name] = row
    return pd.DataFrame.from_dict(rows, orient="index").fillna("")


@declared(frame=FRAME, by=COLUMNS, metric=TEXT, scale=FINITE, digits=Whole(0))
def intervals(frame, by, metric, scale=1.0, digits=2):
    """Tabulate a metric in text, a row a value of `by`: mean, 95 % interval, number of seeds.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `read_results`.
    by : str or list of str
        The settings that tell the rows of the table apart.
    metric : str
    scale : float
        A factor to a more readable unit, such as 100 for per cent.
    digits : int
        Digits behind the point.

    Raises
    ------
    ValueError
        If `by` leaves more than one row of a seed together.

    Examples
    --------
    >>> frame = pd.DataFrame({"masks": ["off", "off", "on", "on"], "seed": [0, 1, 0, 1],
    ...                       "error": [0.10, 0.12, 0.08, 0.09]})
    >>> intervals(frame, "masks", "error", scale=100, digits=1)
         mean 95 % interval seeds
    off  11.0   -1.7 – 23.7     2
    on    8.5    2.1 – 14.9     2
    """
    rows = {}
    for setting, group in frame.groupby(by, sort=False):
        if group["seed"].duplicated().any():
            raise ValueError(f"by must tell the rows of a seed apart, got {by!r}")
        mean, low, high = mean_interval(scale * group[metric])
        interval = f"{low:.{digits}f} – {high:.{digits}f}"
        rows[setting] = [f"{mean:.{digits}f}", interval, str(len(group))]
    table = pd.DataFrame.from_dict(rows, orient="index", columns=["mean", "95 % interval", "seeds"])
    if not isinstance(by, str):
        table.index = pd.MultiIndex.from_tuples(table.index, names=by)
    return table


@declared(frame=FRAME)
def cost(frame):
    """Say what an experiment took, by its `read_results`: trials, and the time of one core."""
    return f"{len(frame)} trials, {frame['seconds'].sum() / 60:.0f} minutes of one core"


@declared(frame=FRAME)
def summary(frame):
    """Tabulate all metrics of `read_results` in Markdown: means with 95 % intervals."""
    settings, metrics = _parts(frame.columns)
    groups = frame.groupby(settings, sort=False)
    table = groups.size().astype(str).to_frame("seeds")
    for metric in metrics:
        table[metric] = groups[metric].agg(_in_text)
    table["seconds"] = groups["seconds"].mean().map("{:.0f}".format)
    return table.reset_index().to_markdown(index=False, disable_numparse=True)


def _in_text(values):
    mean, low, high = mean_interval(values)
    return f"{mean:.4g} [{low:.4g}, {high:.4g}]"
