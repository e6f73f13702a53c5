"""What holds for a paper's claim beside ours."""

import pytest

from lib.experiments import EXPERIMENTS
from lib.experiments.effects import EFFECTS, Effect

HEAD = "masks,rate,seed,test_error,val_error,seconds,versions,processor,date,code\n"


def table(folder, *errors):
    """Errors of "none" and "some", seed by seed, at the rate that validation chooses."""
    rows = [
        f"{masks},{rate},{seed},{pair[place] + (rate == 0.3)},{rate},1,torch,chip,today,unknown"
        for seed, pair in enumerate(errors)
        for place, masks in enumerate(("none", "some"))
        for rate in (0.1, 0.3)
        if seed == 0 or rate == 0.1
    ]
    (folder / "reuters.csv").write_text(HEAD + "\n".join(rows) + "\n", encoding="utf-8")


def toy(paper, alike=True):
    return Effect("reuters", "some masks", {"masks": "some"}, {"masks": "none"}, paper, alike)


def test_a_difference_is_in_points_at_each_sides_best(tmp_path):
    table(tmp_path, (0.03, 0.02), (0.04, 0.02), (0.05, 0.04))
    change = toy(-0.5).measured(tmp_path)
    assert change.mean == pytest.approx(-4 / 3)
    assert change.low < change.mean < change.high
    assert change.n_seeds == 3


@pytest.mark.parametrize(
    ("errors", "paper", "alike", "said"),
    [
        (((0.03, 0.02), (0.04, 0.031)), -0.5, True, "yes"),  # -1.0 and -0.9 points
        (((0.03, 0.02), (0.04, 0.031)), 0.5, True, "no"),  # on the other side
        (((0.03, 0.030), (0.04, 0.0401)), -0.5, True, "no"),  # the paper's 0.5 is excluded
        (((0.03, 0.030), (0.04, 0.0401)), -0.5, False, "undecided"),  # but it is of other data
        (((0.03, 0.02), (0.04, 0.05)), -0.5, True, "undecided"),  # both are within the interval
    ],
)
def test_the_interval_alone_says_what_is_reproduced(tmp_path, errors, paper, alike, said):
    table(tmp_path, *errors)
    assert toy(paper, alike).reproduced(tmp_path) == said


def test_two_metrics_of_the_same_networks_are_compared(tmp_path):
    table(tmp_path, (0.03, 0.02), (0.04, 0.02))
    effect = Effect("reuters", "test - validation", "test_error", "val_error", 1.0)
    assert effect.measured(tmp_path).n_seeds == 6


def test_sides_of_the_forest_are_configurations_that_are_run():
    for effect in EFFECTS:
        experiment = EXPERIMENTS[effect.experiment]
        for side in (effect.ours, effect.baseline):
            if isinstance(side, str):
                assert side in experiment.metrics
            else:
                assert any(side.items() <= each.items() for each in experiment.configurations)
    assert len({effect.what for effect in EFFECTS}) == len(EFFECTS)
