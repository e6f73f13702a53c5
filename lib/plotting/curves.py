"""Lines with intervals, single seeds as faint dots, labels at the lines."""

import numpy as np

from lib.comparison import mean_interval
from lib.plotting.style import AXES, ROLE, ROLES
from lib.validation import NOT_NEGATIVE, TEXT, Flag, Numbers, OneOf, Optional, Real, declared

NUMBER = Numbers(ndim=0)
POINTS = Numbers(ndim=1)
RUNS = Numbers(Real(ends="[]"), ndim=2, empty=False, nan=True)
SIDE = OneOf("left", "center", "right")


@declared(ax=AXES, x=POINTS, runs=RUNS, role=ROLE, text=Optional(TEXT), markers=Flag())
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
    mean, low, high = mean_interval(runs)
    look = ROLES[role]
    ax.fill_between(x, low, high, color=look.color, alpha=0.18, linewidth=0)
    marker = look.marker if markers else None
    ax.plot(x, mean, color=look.color, linestyle=look.linestyle, marker=marker)
    if text:
        label(ax, x[-1], mean[-1], text, role)


@declared(ax=AXES, x=POINTS, runs=RUNS, role=ROLE, spread=NOT_NEGATIVE)
def seed_dots(ax, x, runs, role, *, spread=0.0):
    """Draw every single run as a faint dot.

    Parameters
    ----------
    ax, x, runs, role
        As for `interval_band`.
    spread : float
        Width over which the dots of one point are spread, so that they don't hide one another.
    """
    look, places = ROLES[role], x[:, None] + np.linspace(-spread / 2, spread / 2, runs.shape[1])
    ax.scatter(places, runs, s=12, color=look.color, marker=look.marker, alpha=0.35, linewidth=0)


@declared(ax=AXES, x=NUMBER, y=NUMBER, text=TEXT, role=ROLE, dx=NUMBER, dy=NUMBER, ha=SIDE)
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
    """
    place = {"xytext": (dx, dy), "textcoords": "offset points", "va": "center", "ha": ha}
    ax.annotate(text, (x, y), color=ROLES[role].color, annotation_clip=False, **place)
