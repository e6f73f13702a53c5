"""Lines with intervals, single seeds as faint dots, labels at the lines."""

import numpy as np
from scipy import stats

from lib.plotting.style import ROLES


def interval_band(ax, x, runs, role, text=None, *, markers=True):
    """Draw the mean of several runs with its 95 % interval.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (points,)
    runs : array_like, shape (points, seeds)
        One column a seed. The interval is Student's t for the mean.
    role : str
        A key of `ROLES`: which colour, marker and line.
    text : str, optional
        Written at the right end of the line.
    markers : bool
        Mark the points.
    """
    runs = np.asarray(runs, dtype=float)
    look = ROLES[role]
    mean, n_seeds = runs.mean(axis=1), runs.shape[1]
    half = stats.t.ppf(0.975, n_seeds - 1) * runs.std(axis=1, ddof=1) / np.sqrt(n_seeds)
    ax.fill_between(x, mean - half, mean + half, color=look.color, alpha=0.18, linewidth=0)
    marker = look.marker if markers else None
    ax.plot(x, mean, color=look.color, linestyle=look.linestyle, marker=marker)
    if text:
        label(ax, x[-1], mean[-1], text, role)


def seed_dots(ax, x, runs, role, *, spread=0.0):
    """Draw every single run as a faint dot.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x : array_like, shape (points,)
    runs : array_like, shape (points, seeds)
    role : str
        A key of `ROLES`.
    spread : float
        Width over which the dots of one point are spread, so that they don't hide one another.
    """
    runs = np.asarray(runs, dtype=float)
    offsets = np.linspace(-spread / 2, spread / 2, runs.shape[1])
    look = ROLES[role]
    ax.scatter(
        np.asarray(x, dtype=float)[:, None] + offsets,
        runs,
        s=12,
        color=look.color,
        marker=look.marker,
        alpha=0.35,
        linewidth=0,
    )


def label(ax, x, y, text, role, *, dx=6, dy=0, ha="left"):
    """Write a label beside a point of a line, in the line's colour.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    x, y : float
        The point, in data coordinates.
    text : str
    role : str
        A key of `ROLES`.
    dx, dy : float
        Offset in points.
    ha : {"left", "center", "right"}
        Alignment.
    """
    ax.annotate(
        text,
        (x, y),
        xytext=(dx, dy),
        textcoords="offset points",
        color=ROLES[role].color,
        va="center",
        ha=ha,
        annotation_clip=False,
    )
