"""What a table of results says: means with their intervals, and paired differences."""

import numpy as np
import pandas as pd
from scipy import stats

from lib.comparison import paired_difference
from lib.experiments.table import RESULTS, ResultsTable


def read_results(experiment, folder=RESULTS):
    """Read the finished trials of an experiment, those of its present configurations.

    Parameters
    ----------
    experiment : lib.experiments.Experiment
    folder : path
        Where its table is.

    Returns
    -------
    pandas.DataFrame
        A row a trial, in the order of the configurations: settings, seed, metrics, circumstances.
    """
    table = ResultsTable(experiment, folder)
    by_key = {table.key(row): row for row in table.rows()}
    rows = []
    for trial in sorted(experiment.trials(_most_seeds(by_key)), key=_place(experiment)):
        if trial.key in by_key:
            rows.append(by_key[trial.key] | dict(trial.configuration) | {"seed": trial.seed})
    frame = pd.DataFrame(rows, columns=table.columns)
    numbers = [*experiment.metrics, "seconds"]
    return frame.astype(dict.fromkeys(numbers, float))


def _most_seeds(keys):
    return 1 + max((int(key[-1]) for key in keys), default=0)


def _place(experiment):
    order = {tuple(each.items()): i for i, each in enumerate(experiment.configurations)}
    return lambda trial: (order[trial.configuration], trial.seed)


def mean_interval(values):
    """Mean over seeds, with its 95 % interval by Student's t.

    Parameters
    ----------
    values : array_like, shape (seeds,)

    Returns
    -------
    mean, low, high : float
        The interval is NaN with fewer than two seeds.

    Examples
    --------
    >>> mean, low, high = mean_interval([1.0, 2.0, 3.0])
    >>> f"{mean:.2f} [{low:.2f}, {high:.2f}]"
    '2.00 [-0.48, 4.48]'
    """
    values = np.asarray(values, dtype=float)
    mean = float(values.mean())
    if len(values) < 2:
        return mean, float("nan"), float("nan")
    half = stats.t.ppf(0.975, len(values) - 1) * stats.sem(values)
    return mean, float(mean - half), float(mean + half)


def compare(frame, metric, ours, baseline):
    """Compare two configurations, paired by the seeds that both have.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `read_results`.
    metric : str
        What to compare.
    ours, baseline : dict
        Some settings and their values, which pick the rows: one a seed.

    Returns
    -------
    lib.comparison.Comparison
        Of ours - baseline.

    Raises
    ------
    ValueError
        If the settings pick more than one row of a seed.
    """
    sides = []
    for settings in (ours, baseline):
        rows = select(frame, **settings)
        if rows["seed"].duplicated().any():
            raise ValueError(f"{settings} must pick one row a seed, got several")
        sides.append(rows.set_index("seed")[metric])
    left, right = sides[0].align(sides[1], join="inner")
    return paired_difference(left, right)


def select(frame, **settings):
    """Pick the rows with the given settings.

    Parameters
    ----------
    frame : pandas.DataFrame
    **settings
        Values by column.

    Returns
    -------
    pandas.DataFrame
    """
    for name, value in settings.items():
        frame = frame[frame[name] == value]
    return frame


def intervals(frame, by, metric, scale=1.0, digits=2):
    """Tabulate a metric: its mean, its 95 % interval, and the number of seeds.

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

    Returns
    -------
    pandas.DataFrame
        Of text, a row a value of `by`, with the columns mean, 95 % interval, seeds.

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


def cost(frame):
    """Say what an experiment took.

    Parameters
    ----------
    frame : pandas.DataFrame
        From `read_results`.

    Returns
    -------
    str
        Number of trials, and the time of one core.
    """
    return f"{len(frame)} trials, {frame['seconds'].sum() / 60:.0f} minutes of one core"


def summary(experiment, folder=RESULTS):
    """Summarize an experiment: for each configuration the mean of each metric, and its interval.

    Parameters
    ----------
    experiment : lib.experiments.Experiment
    folder : path

    Returns
    -------
    str
        A table in Markdown.
    """
    frame = read_results(experiment, folder)
    lines = []
    for configuration, rows in frame.groupby(experiment.settings, sort=False):
        cells = dict(zip(experiment.settings, configuration, strict=True))
        cells["seeds"] = str(len(rows))
        for metric in experiment.metrics:
            mean, low, high = mean_interval(rows[metric])
            cells[metric] = f"{mean:.4g} [{low:.4g}, {high:.4g}]"
        cells["seconds"] = f"{rows['seconds'].mean():.0f}"
        lines.append(cells)
    if not lines:
        return f"{experiment.name} has no results yet"
    return pd.DataFrame(lines).to_markdown(index=False, disable_numparse=True)
