"""The figures' shared pieces: what is drawn stands for the numbers it was given."""

import matplotlib.pyplot as plt
import numpy as np
import pytest
from matplotlib.colors import to_rgb
from scipy import stats

from lib import plotting
from lib.comparison import Comparison
from lib.plotting.style import PAPER, ROLES


@pytest.fixture
def ax():
    figure, ax = plt.subplots()
    yield ax
    plt.close(figure)


def luminance(color):
    """Relative luminance by WCAG 2."""
    parts = np.array(to_rgb(color))
    linear = np.where(parts <= 0.04045, parts / 12.92, ((parts + 0.055) / 1.055) ** 2.4)
    return linear @ (0.2126, 0.7152, 0.0722)


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


def test_a_forest_has_a_row_an_effect_with_ours_and_where_there_is_one_the_papers(ax):
    ours = {
        "fewer errors": Comparison(-0.2, -0.3, -0.1, 5, 5),
        "more": Comparison(0.2, 0.1, 0.3, 5, 5),
        "open": Comparison(0.0, -0.1, 0.1, 3, 5),
    }
    plotting.forest(ax, ours, {"fewer errors": -0.5})
    assert [label.get_text() for label in ax.get_yticklabels()] == list(ours)
    intervals = [each.get_segments()[0][:, 0].tolist() for each in ax.collections]
    assert intervals == [[-0.3, -0.1], [0.1, 0.3], [-0.1, 0.1]]
    dots, diamonds = ax.lines[0:-1:2], ax.lines[1:-1:2]
    assert [dot.get_xydata().tolist() for dot in dots] == [[[-0.2, 0]], [[0.2, 1]], [[0.0, 2]]]
    assert diamonds[0].get_xydata().tolist() == [[-0.5, 0]]
    assert np.isnan([diamond.get_xdata()[0] for diamond in diamonds[1:]]).all()
    assert len({dot.get_color() for dot in dots}) == 3
    assert ax.yaxis_inverted()


def test_signed_images_have_zero_in_the_middle_of_the_scale(ax):
    plotting.draw_images([ax], np.array([[[-1.0, 0.5]]]), ["weights"])
    assert ax.images[0].get_clim() == (-1.0, 1.0)
    assert ax.get_title() == "weights"


ALT = "Two bars, dropped and kept; the second grows with the keep probability."


def bars(fig, keep_prob):
    fig.subplots().bar([0, 1], [1 - keep_prob, keep_prob])


def moving(**changes):
    settings = {"draw": bars, "values": [0.2, 0.5, 0.8], "label": "keep probability", "alt": ALT}
    return plotting.MovingFigure(**(settings | {"figsize": (1, 0.5)} | changes))


def test_a_moving_figure_has_a_frame_a_value_starts_where_told_and_leaves_no_figure_open():
    figure = moving()
    assert len(set(figure.frames)) == 3
    assert all(frame.startswith(b"\x89PNG") for frame in figure.frames)
    assert figure._repr_png_() == figure.frames[0]
    assert moving(start=-1)._repr_png_() == figure.frames[2]
    assert repr(figure) == "<MovingFigure: keep probability from 0.2 to 0.8, 3 frames>"
    assert plt.get_fignums() == []


def test_a_moving_figure_can_be_moved_by_keyboard_and_is_still_without_scripts():
    page = moving(start=1, text=lambda p: f"{p:.0%}")._repr_html_()
    assert 'type="range" min="0" max="2" step="1" value="1"' in page
    assert 'aria-valuetext="50%"' in page
    assert ">keep probability</label>" in page
    assert "<p hidden>" in page  # the script shows it
    assert f'alt="{ALT}"' in page
    assert "http" not in page  # no network


def test_a_moving_figure_escapes_what_it_is_given():
    page = moving(label="a < b", text=lambda p: f"</script>{p}")._repr_html_()
    assert "a &lt; b</label>" in page
    assert page.count("</script>") == 1


def test_equal_moving_figures_share_their_id_and_others_do_not():
    def name(figure):
        return figure._repr_html_().split('id="')[1].split('"')[0]

    assert name(moving()) == name(moving())
    assert name(moving()) != name(moving(values=[0.1, 0.9]))


@pytest.mark.parametrize(
    ("changes", "error", "message"),
    [
        ({"values": [0.5]}, ValueError, "at least two, got 1"),
        ({"start": 3}, ValueError, "start must be a whole number from -3 to 2, got 3"),
        ({"start": 0.5}, TypeError, "start must be a whole number"),
    ],
)
def test_a_moving_figure_refuses(changes, error, message):
    with pytest.raises(error, match=message):
        moving(**changes)


def test_a_frame_that_fails_leaves_no_figure_open():
    def fails(fig, value):
        raise RuntimeError("no frame")

    with pytest.raises(RuntimeError, match="no frame"):
        moving(draw=fails)
    assert plt.get_fignums() == []
