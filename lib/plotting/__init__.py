"""The book's figures: one style, and the pictures that return on many pages.

Importing this package sets matplotlib's style.
"""

from lib.plotting.curves import interval_band, label, seed_dots
from lib.plotting.five_units import five_units
from lib.plotting.forest import forest
from lib.plotting.moving import MovingFigure
from lib.plotting.network import draw_network
from lib.plotting.style import ROLES, Role, use_style
from lib.plotting.tiles import draw_images, draw_mask

__all__ = [
    "ROLES",
    "MovingFigure",
    "Role",
    "draw_images",
    "draw_mask",
    "draw_network",
    "five_units",
    "forest",
    "interval_band",
    "label",
    "seed_dots",
    "use_style",
]

use_style()
