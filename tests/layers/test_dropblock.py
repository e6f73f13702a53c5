"""What holds for DropBlock, over all ways in which blocks can begin in a small map."""

from itertools import product

import numpy as np
import pytest
import torch
from chance import is_near
from layer_runs import under_seed

from lib.layers import DropBlock2d, Dropout

HEIGHT, WIDTH, BLOCK, KEEP_PROB = 3, 4, 2, 0.6
PLACES = list(product(range(HEIGHT - BLOCK + 1), range(WIDTH - BLOCK + 1)))
GAMMA = (1 - KEEP_PROB) / BLOCK**2 * HEIGHT * WIDTH / len(PLACES)


def mask_of(begin):
    """The mask if a block begins in some of the places, block by block."""
    mask = torch.ones(HEIGHT, WIDTH)
    for (i, j), begins in zip(PLACES, begin, strict=True):
        if begins:
            mask[i : i + BLOCK, j : j + BLOCK] = 0
    return mask


EVERY = torch.tensor(list(product([0.0, 1.0], repeat=len(PLACES))))  # (64, places)
MASKS = torch.stack([mask_of(begin) for begin in EVERY])
CHANCES = (GAMMA**EVERY * (1 - GAMMA) ** (1 - EVERY)).prod(dim=1)
OVER_ALL = CHANCES.view(-1, 1, 1)


@pytest.fixture
def force(monkeypatch):
    """Decide where blocks begin, and note with which probability none would."""
    asked = []

    def force_begins(begins):
        def given(x, keep_prob, shape):
            asked.append((keep_prob, shape))
            return (1 - begins).view(shape)

        monkeypatch.setattr("lib.layers.dropblock.keep_mask", given)
        return asked

    return force_begins


# One mask


@pytest.mark.parametrize("masks", ["channel", "example"])
def test_whatever_is_drawn_the_blocks_are_dropped_and_the_rest_divided_by_the_share_kept(
    force, masks
):
    layer, x = DropBlock2d(BLOCK, KEEP_PROB, masks), torch.randn(1, HEIGHT, WIDTH)
    for begin, mask in zip(EVERY, MASKS, strict=True):
        asked = force(begin)
        expected = x * mask / mask.mean() if mask.any() else torch.zeros_like(x)
        torch.testing.assert_close(layer(x), expected)
    assert asked == len(EVERY) * [(pytest.approx(1 - GAMMA), (1, 2, 3))]


def test_the_share_kept_is_that_of_the_whole_call(force):
    x = torch.randn(64, 1, HEIGHT, WIDTH)
    force(EVERY)
    expected = x * MASKS[:, None] / MASKS.mean()
    torch.testing.assert_close(DropBlock2d(BLOCK, KEEP_PROB)(x), expected)


@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16], ids=str)
def test_the_share_of_many_pixels_is_right_in_half_precision_too(dtype):
    x = torch.ones(16, 32, 28, 28, dtype=dtype)
    y = DropBlock2d(3, 0.9)(x)
    assert np.isclose(y.double().mean(), 1, atol=0.005)


# All masks: what the docstring says of their mean


def test_masks_are_drawn_as_often_as_their_probability_says():
    n = 200_000
    drawn = DropBlock2d(BLOCK, KEEP_PROB)(torch.ones(n, 1, HEIGHT, WIDTH)) != 0
    powers = 2.0 ** torch.arange(HEIGHT * WIDTH)
    numbers, drawn = ((masks.flatten(1) * powers).sum(1) for masks in (MASKS, drawn[:, 0].float()))
    for number in numbers.unique():  # several sets of blocks may leave the same mask
        chance = CHANCES[numbers == number].sum()
        assert is_near((drawn == number).float().mean(), chance, (chance * (1 - chance)).sqrt(), n)


def test_a_pixel_is_kept_with_a_power_of_one_minus_gamma_less_often_in_the_middle():
    kept = (OVER_ALL * MASKS).sum(dim=0)
    n_blocks = torch.tensor([[1, 2, 2, 1], [2, 4, 4, 2], [1, 2, 2, 1]])
    torch.testing.assert_close(kept, (1 - GAMMA) ** n_blocks)
    outputs = MASKS / MASKS.mean(dim=(1, 2), keepdim=True).clamp(min=1e-9)
    mean = (OVER_ALL * outputs).sum(dim=0)  # of training, for an input of ones
    assert mean[0, 0] > 1.1
    assert mean[1, 1] < 0.9


@pytest.mark.parametrize(
    ("height", "width", "block"), [(3, 4, 2), (5, 5, 3), (8, 8, 7), (14, 14, 7), (6, 3, 4)]
)
@pytest.mark.parametrize("keep_prob", [0.1, 0.5, 0.9])
def test_more_is_kept_than_said_and_a_block_as_large_as_the_map_or_a_pixel_keeps_that(
    height, width, block, keep_prob, force
):
    def share_kept(block):
        """The mean of (1 - gamma)^k, with k from where each single block falls."""
        layer, ones = DropBlock2d(block, keep_prob), torch.ones(1, height, width)
        places = [max(side - block, 0) + 1 for side in (height, width)]
        n_blocks = torch.zeros(height, width)
        for single in torch.eye(places[0] * places[1]):
            asked = force(single)
            n_blocks += layer(ones)[0] == 0
        return (asked[-1][0] ** n_blocks).mean().item()

    if block <= min(height, width):
        assert share_kept(block) > keep_prob
    for exact in (1, max(height, width)):
        assert np.isclose(share_kept(exact), keep_prob)


# Which maps share blocks


def test_maps_have_blocks_of_their_own_or_those_of_the_example():
    n = 20_000
    x = torch.ones(n, 3, 3, 3)
    dropped = (DropBlock2d(2, 0.5)(x) == 0)[..., 0, 0]
    assert is_near(np.corrcoef(dropped, rowvar=False), np.eye(3), 1, n)
    shared = DropBlock2d(2, 0.5, "example")(x)
    assert (shared == shared[:, :1]).all()
    corner = (shared == 0)[:, 0, 0, 0]
    assert is_near(np.corrcoef(corner[1:], corner[:-1]), np.eye(2), 1, n - 1)


def test_a_block_that_covers_the_map_drops_it_whole():
    n = 20_000
    for block in (3, 7):
        y = DropBlock2d(block, 0.7)(torch.ones(n, 1, 3, 3))
        assert (y == y[..., :1, :1]).all()
        assert is_near((y[:, 0, 0, 0] != 0).float().mean(), 0.7, np.sqrt(0.21), n)


def test_blocks_of_one_pixel_are_the_mask_of_dropout():
    x = torch.randn(8, 3, 5, 6)
    masks = [under_seed(layer, x) != 0 for layer in (DropBlock2d(1, 0.5), Dropout(0.5))]
    assert torch.equal(*masks)
