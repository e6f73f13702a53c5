"""Colours, markers and matplotlib settings. The same thing looks the same in the whole book."""

from typing import NamedTuple

import matplotlib.pyplot as plt
from cycler import cycler
from matplotlib.axes import Axes
from matplotlib.figure import Figure

from lib.validation import Instance, OneOf

PAPER = "#fcfcfa"  # opaque, so that a figure reads on a dark page too
INK = "#222222"
FAINT = "#8a8a8a"


class Role(NamedTuple):
    """How one kind of result is drawn: never by colour alone."""

    color: str
    marker: str
    linestyle: str


# Okabe and Ito's colour-blind safe palette, darkened until each reads on PAPER (contrast > 4.5).
ROLES = {
    "none": Role("#b24700", "s", "--"),  # no dropout
    "dropout": Role("#005a9c", "o", "-"),  # dropout, weight scaling at prediction
    "mc": Role("#00734f", "^", "-."),  # dropout, Monte Carlo averaging at prediction
    "exact": Role(INK, "D", ":"),  # by enumeration of all masks
    "other": Role("#8f3f71", "v", (0, (5, 1, 1, 1))),
}
ROLE = OneOf(*ROLES)
AXES = Instance(Axes, "a matplotlib.axes.Axes", lambda: Figure().subplots())


def use_style():
    """Set matplotlib's defaults to the book's."""
    plt.rc("figure", figsize=(6.4, 3.6), dpi=144, facecolor=PAPER)
    plt.rc("figure.constrained_layout", use=True)
    plt.rc("savefig", facecolor=PAPER)
    plt.rc("axes", facecolor=PAPER, edgecolor=FAINT, labelcolor=INK, labelsize=10.5)
    plt.rc("axes", titlesize=11, titlelocation="left", grid=True, axisbelow=True)
    plt.rc("axes", prop_cycle=cycler(color=[role.color for role in ROLES.values()]))
    plt.rc("axes.spines", top=False, right=False)
    plt.rc("grid", color="#e4e4df", linewidth=0.8)
    plt.rc(("xtick", "ytick"), color=INK, labelsize=10)
    plt.rc("font", size=10.5)
    plt.rc("lines", linewidth=1.8, markersize=5)
    plt.rc("legend", frameon=False)
    plt.rc("image", cmap="Greys")
