"""A layered network drawn by neurons, with units crossed out."""

from itertools import pairwise, product

import numpy as np

from lib.plotting.style import AXES, FAINT, INK, PAPER, ROLES
from lib.validation import COUNT, TEXT, Many, Optional, declared


@declared(ax=AXES, sizes=Many(COUNT), title=Optional(TEXT))
def draw_network(ax, sizes, kept=None, names=None, title=None):
    """Draw a fully connected network; a dropped unit is crossed out and loses its connections.

    Parameters
    ----------
    ax : matplotlib.axes.Axes
    sizes : sequence of int
        Units in each layer, from input to output.
    kept : dict of int to sequence of 0 and 1, optional
        For a layer's index its mask. Layers that are not named are kept whole.
    names : sequence of str, optional
        A letter for each layer's units, "x", "h", "y" for instance: units are numbered from 1.
    title : str, optional

    Raises
    ------
    ValueError
        If a mask has not one entry a unit.
    """
    masks = [np.ones(size, dtype=int) for size in sizes]
    for layer, mask in (kept or {}).items():
        if len(mask) != sizes[layer]:
            raise ValueError(
                f"kept must give layer {layer} one entry for each of its {sizes[layer]} units, "
                f"got {len(mask)}"
            )
        masks[layer] = np.asarray(mask, dtype=int)
    # The place of every unit, and whether it is kept: the first stands on top, layers are centred.
    layers = [
        [((1.6 * layer, (len(mask) - 1) / 2 - unit), kept) for unit, kept in enumerate(mask)]
        for layer, mask in enumerate(masks)
    ]
    for before, after in pairwise(layers):
        for (start, start_kept), (end, end_kept) in product(before, after):
            if start_kept and end_kept:
                ax.plot(*zip(start, end, strict=True), color=FAINT, linewidth=0.8, zorder=1)
    for layer, units in enumerate(layers):
        for unit, (place, is_kept) in enumerate(units):
            text = f"${names[layer]}_{unit + 1}$" if names else ""
            _draw_unit(ax, *place, text, is_kept)
    half = (max(sizes) - 1) / 2 + 0.6
    ax.set(aspect="equal", xlim=(-0.6, 1.6 * len(sizes) - 1.0), ylim=(-half, half))
    ax.axis("off")
    if title:
        ax.set_title(title, loc="center")


def _draw_unit(ax, x, y, text, is_kept):
    color = ROLES["dropout"].color if is_kept else FAINT
    ax.scatter(
        x, y, s=420, facecolor=PAPER, edgecolor=color, zorder=2,
        linewidth=1.6 if is_kept else 1.0, linestyle="-" if is_kept else ":",
    )  # fmt: skip
    ax.text(x, y, text, ha="center", va="center", color=INK if is_kept else FAINT, zorder=3)
    if not is_kept:
        arm = 0.3
        for sign in (1, -1):
            ax.plot(
                [x - arm, x + arm], [y - sign * arm, y + sign * arm],
                color=ROLES["none"].color, linewidth=1.8, zorder=4,
            )  # fmt: skip
