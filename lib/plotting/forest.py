"""Effects in rows: what a paper has beside what we have, with its interval."""

import numpy as np

from lib.plotting.style import AXES, FAINT, INK, ROLES
from lib.validation import Instance, declared

ROWS = Instance(dict, "a dict of comparisons", dict)
NUMBERS_OF = Instance(dict, "a dict of numbers", dict)


@declared(ax=AXES, ours=ROWS, papers=NUMBERS_OF)
def forest(ax, ours, papers):
    """Draw a row an effect: ours with its 95 % interval, the paper's as a diamond.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    ours : dict of lib.comparison.Comparison
        By the row's label, from the top.
    papers : dict of float
        By the same labels; where one is missing no diamond is drawn.
    """
    exact = ROLES["exact"]
    for place, (name, change) in enumerate(ours.items()):
        look = ROLES["dropout" if change.verdict == "lower" else "other"]
        if change.verdict == "not told apart":
            look = look._replace(color=FAINT)
        ax.hlines(place, change.low, change.high, color=look.color)
        ax.plot(change.mean, place, look.marker, color=look.color, markersize=7)
        ax.plot(papers.get(name, np.nan), place, exact.marker, color=INK, fillstyle="none")
    ax.axvline(0, color=INK, linewidth=1)
    ax.set_yticks(range(len(ours)), list(ours))
    ax.set_ylim(len(ours) - 0.5, -0.5)
    ax.grid(axis="y", visible=False)
