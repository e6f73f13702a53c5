"""Masks and small images as tiles."""

import numpy as np
from matplotlib.patches import Rectangle

from lib.plotting.style import AXES, PAPER, ROLES
from lib.validation import POSITIVE, SHARE, TEXT, Many, Numbers, Optional, declared

CAPTION = Optional(TEXT)
IMAGES = Numbers(ndim=3, empty=False)


@declared(ax=AXES, mask=Numbers(SHARE, ndim=2), title=CAPTION, xlabel=CAPTION, ylabel=CAPTION)
def draw_mask(ax, mask, *, title=None, xlabel="hidden unit", ylabel="example"):
    """Draw a mask as a table: a filled tile is kept, a crossed empty one dropped.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    mask : array_like of 0 and 1, shape (rows, units)
    title, xlabel, ylabel : str, optional
    """
    for (row, unit), is_kept in np.ndenumerate(mask):
        color = ROLES["dropout"].color if is_kept else PAPER
        corner = (unit - 0.45, row - 0.45)
        ax.add_patch(Rectangle(corner, 0.9, 0.9, facecolor=color, edgecolor="#b0b0aa"))
        if not is_kept:
            ax.text(unit, row, "×", ha="center", va="center", color=ROLES["none"].color)
    rows, units = mask.shape
    ax.set(
        xlim=(-0.5, units - 0.5), ylim=(rows - 0.5, -0.5), aspect="equal",
        xticks=range(units), yticks=range(rows),
        xticklabels=range(1, units + 1), yticklabels=range(1, rows + 1),
        xlabel=xlabel, ylabel=ylabel,
    )  # fmt: skip
    ax.grid(False)
    ax.tick_params(length=0)
    ax.spines[:].set_visible(False)
    if title:
        ax.set_title(title)


@declared(axes=Many(AXES), images=IMAGES, titles=Optional(Many(TEXT)), limit=Optional(POSITIVE))
def draw_images(axes, images, titles=None, *, limit=None):
    """Draw small grey images, one an axes; negative values in another colour.

    Parameters
    ----------
    axes : iterable of matplotlib.axes.Axes
    images : array_like, shape (n, height, width)
    titles : sequence of str, optional
    limit : float, optional
        Value of the darkest shade; the largest absolute value by default.
    """
    limit = limit or np.abs(images).max()
    signed = images.min() < 0
    look = {"cmap": "PuOr", "vmin": -limit} if signed else {"cmap": "Greys", "vmin": 0}
    for i, (ax, image) in enumerate(zip(axes, images, strict=False)):
        ax.imshow(image, vmax=limit, **look)
        ax.axis("off")
        if titles is not None:
            ax.set_title(titles[i], fontsize=9, loc="center")
