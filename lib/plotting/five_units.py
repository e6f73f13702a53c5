"""The picture that returns: a layer of five units, its 32 masks, and a slider for p."""

import numpy as np

from lib.masks import all_masks, mask_probabilities
from lib.plotting.moving import MIN_ALT, MovingFigure
from lib.plotting.network import draw_network
from lib.validation import Function, Text, declared

KEEP_PROBS = np.arange(1, 11) / 10
UNIFORM = (0.12, 0.93, 0.46, 0.71, 0.28)  # one draw for all p: unit i is kept if it is below p


@declared(panel=Function(), alt=Text(MIN_ALT))
def five_units(panel, *, alt):
    """Move the keep probability of a layer of five units, and see what a page looks at.

    At the left one draw of the mask; a unit that is kept stays kept as p grows.

    Parameters
    ----------
    panel : callable
        ``panel(ax, p, masks, chances)`` draws at the right: `masks` are all 32, shape (32, 5), and
        `chances` their probabilities. Give all frames the same limits.
    alt : str
        What one sees at the right and what it means.

    Returns
    -------
    MovingFigure
        A frame for each p from 0.1 to 1; it shows 0.5 first.

    Examples
    --------
    >>> def units_kept(ax, p, masks, chances):
    ...     ax.bar(range(6), np.bincount(masks.sum(axis=1), weights=chances))
    >>> five_units(units_kept, alt="Bars, one a number of kept units; they move right as p grows.")
    <MovingFigure: keep probability p from 0.1 to 1.0, 10 frames>
    """
    masks = all_masks(5)

    def draw(fig, p):
        left, right = fig.subplots(1, 2, width_ratios=[1, 1.5])
        draw_network(left, [3, 5, 2], {1: np.array(UNIFORM) < p}, names="xhy")
        panel(right, p, masks, mask_probabilities(masks, p))

    left = "Left, a network with five hidden units, the dropped ones crossed out; as the keep "
    left += "probability grows they come back. Right: "
    return MovingFigure(draw, KEEP_PROBS, start=4, label="keep probability p", alt=left + alt)
