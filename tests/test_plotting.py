"""The figures' shared pieces: what is drawn stands for the numbers it was given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy import stats

from lib import plotting
from lib.plotting.style import PAPER, ROLES


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def luminance(color):
    """Relative luminance by WCAG 2."""
    parts = np.array(to_rgb(color))
    return np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4) @ (
        0.2126,
        0.7152,
        0.0722,
    )


@pytest.mark.parametrize("role", ROLES)
def test_every_role_reads_on_the_paper(role):
    contrast = (luminance(PAPER) + 0.05) / (luminance(ROLES[role].color) + 0.05)
    assert contrast >= 4.5


def test_roles_differ_in_more_than_colour():
    assert len({role.marker for role in ROLES.values()}) == len(ROLES)
    assert len({role.linestyle for role in ROLES.values()}) == len(ROLES)


@pytest.mark.parametrize("mask", [[1, 1, 1, 1, 1], [1, 0, 1, 0, 0], [0, 0, 0, 0, 0]])
def test_a_dropped_unit_is_crossed_out_and_has_no_connections(ax, mask):
    plotting.draw_network(ax, [3, 5, 2], {1: mask}, names="xhy")
    connections, strokes = 3 * sum(mask) + sum(mask) * 2, 2 * mask.count(0)
    assert len(ax.lines) == connections + strokes
    assert sorted(text.get_text() for text in ax.texts)[:2] == ["$h_1$", "$h_2$"]


def test_a_mask_of_another_length_is_refused(ax):
    with pytest.raises(ValueError, match=r"kept must give layer 1 .* 5 units, got 4"):
        plotting.draw_network(ax, [3, 5, 2], {1: [1, 0, 1, 1]})


def test_a_mask_table_has_a_tile_for_each_entry_and_a_cross_for_each_zero(ax):
    plotting.draw_mask(ax, [[1, 0, 1], [0, 0, 1]])
    assert len(ax.patches) == 6
    assert len(ax.texts) == 3


def test_a_band_is_students_interval_for_the_mean(ax):
    runs = np.array([[1.0, 2.0, 4.0], [3.0, 3.5, 5.0]])
    plotting.interval_band(ax, [0, 1], runs, "dropout")
    edges = ax.collections[0].get_paths()[0].vertices[:, 1]
    low, high = stats.t.interval(0.95, 2, runs[0].mean(), stats.sem(runs[0]))
    assert np.isclose(edges, low).any()
    assert np.isclose(edges, high).any()
    assert np.allclose(ax.lines[0].get_ydata(), runs.mean(axis=1))


def test_every_seed_has_a_dot(ax):
    plotting.seed_dots(ax, [0, 1], np.ones((2, 5)), "none", spread=0.2)
    assert len(ax.collections[0].get_offsets()) == 10


def test_signed_images_have_zero_in_the_middle_of_the_scale(ax):
    plotting.draw_images([ax], np.array([[[-1.0, 0.5]]]), ["weights"])
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    assert ax.get_title() == "weights"
