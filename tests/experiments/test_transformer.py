"""What holds for the experiment with passes over text."""

import itertools

import pytest
import torch
from real_data import needs_data
from repository import ROOT, markdown_of

from lib.datasets import CHARACTERS, load_reuters_text
from lib.experiments.experiment import grid
from lib.experiments.transformer import (
    MANY,
    PASSES,
    PLACES,
    STEPS,
    EachPlace,
    batches,
    masked_net,
    measured,
    sequences,
)
from lib.inference import stochastic_layers
from lib.layers import Dropout, StochasticDepth


def test_the_answers_are_the_next_characters():
    x, y = sequences(torch.arange(23), 5)
    assert x.shape == y.shape == (4, 5)
    assert torch.equal(x.flatten(), torch.arange(20))
    assert torch.equal(y, x + 1)


def test_no_sequence_comes_again_before_all_others_have_come():
    x, y = sequences(torch.arange(121), 10)
    seen = list(itertools.islice(batches(x, y, 4), 6))  # two passes of three steps
    for half in (seen[:3], seen[3:]):
        assert torch.cat([x for x, _ in half]).flatten().sort().values.tolist() == list(range(120))
    assert all(torch.equal(y, x + 1) for x, y in seen)


def test_both_halves_take_the_same_number_of_characters():
    assert STEPS * 16 * 64 % (MANY * 64) == 0
    assert {each["passes"] for each in PASSES.configurations} == {1, MANY}


@pytest.mark.parametrize("place", PLACES)
def test_masks_are_in_the_places_that_the_name_says(place):
    net = masked_net(place, 0.7, depth=2, width=8, context=4)
    found = stochastic_layers(net)
    kinds = {StochasticDepth} if place == "blocks" else {Dropout}
    assert {type(layer) for layer in found} == (set() if place == "none" else kinds)
    if place == "blocks":
        assert [layer.survival_prob for layer in found] == pytest.approx([0.85, 0.85, 0.7, 0.7])
    else:
        assert {layer.keep_prob for layer in found} <= {0.7}
    numbers = dict(zip(PLACES, (0, 1, 2, 2, 4, 9, 4), strict=True))  # of two blocks
    assert len(found) == numbers[place]


def test_each_place_is_an_example():
    net = EachPlace(masked_net("none", 1.0, depth=1, width=8, context=4))
    assert net(torch.zeros(3, 4, dtype=torch.int64)).shape == (12, len(CHARACTERS))
    loss, error = measured(net, torch.randint(96, (400,)), 4)
    assert loss == pytest.approx(torch.tensor(96.0).log().item(), abs=0.8)  # it knows nothing
    assert error > 0.9


def test_a_network_that_diverges_has_an_infinite_loss():
    net = EachPlace(masked_net("none", 1.0, depth=1, width=8, context=4))
    net.net[0].token.weight.data.fill_(torch.nan)
    assert measured(net, torch.zeros(9, dtype=int), context=4)[0] == torch.inf


def test_every_side_has_three_rates_and_no_masks_keep_all():
    for side in grid(passes=[1, MANY], place=list(PLACES)):
        own = [each for each in PASSES.configurations if side.items() <= each.items()]
        assert len({each["rate"] for each in own}) == 3
        assert all((each["keep_prob"] == 1) == (side["place"] == "none") for each in own)


def test_the_network_has_as_many_weights_as_the_lesson_says():
    net = masked_net("all four", 0.9, depth=3, width=64, context=64)
    assert round(sum(each.numel() for each in net.parameters()), -3) == 167_000


def test_the_lesson_says_how_long_the_networks_train():
    n_characters = STEPS * 16 * 64
    text = markdown_of(ROOT / "book" / "today" / "transformers.ipynb")
    for words in (f"{STEPS:,} steps", f"{MANY} passes", f"{n_characters:,} characters"):
        assert words in text
    assert f"{n_characters // MANY:,} of them {MANY} times" in text


@needs_data("reuters")
@pytest.mark.slow
@pytest.mark.parametrize("seed", range(3))
def test_the_texts_are_of_as_many_stories_as_the_lesson_says(seed):
    n_few, n_many = (
        load_reuters_text(STEPS * 16 * 64 // passes + 1, seed=seed).train.eq(0).sum()
        for passes in (MANY, 1)
    )
    assert 20 <= n_few <= 60
    assert 1500 <= n_many <= 1700
