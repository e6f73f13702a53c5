"""What holds for the losses of two masks, over all masks where there are few."""

import re

import numpy as np
import pytest
import torch
from torch import nn

from lib.datasets import load_digits
from lib.inference import mc_samples
from lib.layers import DropConnectLinear, Dropout, StochasticDepth
from lib.masks import all_masks, mask_probabilities
from lib.networks import multilayer_perceptron
from lib.side_by_side import train_seeds
from lib.training import classification_loss
from lib.two_masks import TwoMasks, contrastive_loss, disagreement, r_drop
from lib.uncertainty import mutual_information


@pytest.fixture
def every_logit(rng):
    """Logits (32 masks, 4 classes) of a layer of five units, and the masks' probabilities."""
    masks, chances = all_masks(5), mask_probabilities(all_masks(5), 0.7)
    return torch.tensor(masks / 0.7 @ rng.normal(size=(5, 4))), torch.tensor(chances)


def divergence(p, q):
    return (p * (p.log() - q.log())).sum(dim=-1)


def pairs(logits, chances):
    """Expected disagreement of two masks drawn independently."""
    each = disagreement(*torch.broadcast_tensors(logits[:, None], logits[None]))
    return chances @ each @ chances


def test_disagreement_is_the_mean_of_both_divergences(rng):
    first, second = torch.tensor(rng.normal(size=(2, 7, 4)))
    p, q = first.softmax(-1), second.softmax(-1)
    expected = (divergence(p, q) + divergence(q, p)) / 2
    torch.testing.assert_close(disagreement(first, second), expected)
    assert (disagreement(first, first + 3.0) < 1e-12).all()  # the same probabilities


def test_of_the_expected_disagreement_dropouts_loss_has_one_of_two_parts(every_logit):
    logits, chances = every_logit
    middle, p = chances @ logits, logits.softmax(-1)
    charged = chances @ divergence(middle.softmax(-1), p)
    other = chances @ divergence(p, middle.softmax(-1))
    torch.testing.assert_close(pairs(logits, chances), charged + other)
    for y in range(4):
        loss = chances @ -logits.log_softmax(-1)[:, y]
        torch.testing.assert_close(loss, -middle.log_softmax(-1)[y] + charged)


def test_near_the_mean_both_parts_are_half_of_a_trace(every_logit):
    logits, chances = every_logit
    middle = chances @ logits
    small = 0.01 * (logits - middle)
    p, g = (middle + small).softmax(-1), middle.softmax(-1)
    trace = chances @ small.square() @ g - chances @ (small @ g).square()  # of H times covariance
    for part in (divergence(g, p), divergence(p, g)):
        torch.testing.assert_close(chances @ part, trace / 2, rtol=0.02, atol=0)


def test_it_charges_about_what_dropout_that_drops_more_charges(rng):
    """Weight 1 at 0.8 beside none at p' where (1 - p') / p' = 3 (1 - p) / p, 300 random layers."""

    def charges(weights, keep_prob):
        masks = all_masks(5)
        chances = torch.tensor(mask_probabilities(masks, keep_prob))
        logits = torch.tensor(masks / keep_prob @ weights)
        g = (chances @ logits).softmax(-1)
        return chances @ divergence(g, logits.softmax(-1)), pairs(logits, chances)

    ratios = []
    for scale in 10 ** rng.uniform(-1, 0.3, 300):
        weights = scale * rng.normal(size=(5, 10))
        (plain, _), (charged, disagree) = charges(weights, 0.8 / 1.4), charges(weights, 0.8)
        ratios.append((charged + disagree) / plain)
    off = np.abs(np.array(ratios) - 1)
    assert np.median(off) < 0.05
    assert np.quantile(off, 0.9) < 0.4


def test_the_other_part_beside_the_mutual_information_is_its_mirror_image(every_logit):
    logits, _ = every_logit
    p = logits.softmax(-1)
    same = torch.full((len(p),), 1 / len(p), dtype=torch.float64)
    mean = p.mean(dim=0)
    mirror = divergence(mean, p).mean()
    information = mutual_information(p[:, None]).squeeze()
    torch.testing.assert_close(pairs(logits, same), information + mirror)


def test_near_the_mean_it_is_twice_the_mutual_information(rng):
    logits = torch.tensor(0.05 * rng.normal(size=(40, 1, 4)))
    chances = torch.full((40,), 1 / 40, dtype=torch.float64)
    twice = 2 * mutual_information(logits.softmax(-1)).squeeze()
    torch.testing.assert_close(pairs(logits[:, 0], chances), twice, rtol=0.05, atol=0)


def test_two_answers_in_training_have_masks_of_their_own_and_eval_has_one():
    net = TwoMasks(nn.Sequential(Dropout(0.5)), others=lambda: torch.ones(2, 50))
    first, second = net(torch.ones(3, 50))
    assert first.shape == (5, 50)
    assert all((first != second).any(dim=-1))
    assert torch.equal(net.eval()(torch.ones(3, 50)), torch.ones(3, 50))


ONE_MASK = StochasticDepth(nn.Linear(4, 4), 0.5), DropConnectLinear(4, 4, masks="batch")


@pytest.mark.parametrize("layer", ONE_MASK, ids=["gate", "weights"])
def test_where_one_mask_is_drawn_for_a_batch_both_answers_have_it(layer):
    for _ in range(20):
        torch.testing.assert_close(*TwoMasks(layer)(torch.ones(3, 4)))


def test_a_monte_carlo_sample_is_one_answer():
    net = TwoMasks(nn.Sequential(nn.Linear(4, 3), Dropout(0.5))).eval()
    samples = mc_samples(net, torch.ones(5, 4), 7)
    assert samples.shape == (7, 5, 3)
    assert samples.std(dim=0).max() > 0


def test_whole_numbers_are_taken_for_the_real_ones_that_they_are():
    first, second = [[1, 0], [0, 2]], [[1, 1], [0, 3]]
    for loss in (disagreement, lambda a, b: contrastive_loss(a, b, 1.0)):
        whole, real = (
            loss(*(torch.tensor(each, dtype=dtype) for each in (first, second)))
            for dtype in (torch.int64, torch.float32)
        )
        assert torch.equal(whole, real)


@pytest.mark.parametrize(("name", "value"), [("logits", [[1.0, 2.0]]), ("y", [0])])
def test_logits_and_labels_that_are_no_tensors_are_an_error(name, value):
    given = {"logits": torch.zeros(2, 1, 3), "y": torch.tensor([0]), name: value}
    with pytest.raises(TypeError, match=re.escape(f"{name} must be a torch.Tensor, got {value}")):
        r_drop(1.0)(**given)


@pytest.mark.parametrize(
    ("net", "found"),
    [
        (nn.Flatten(0), r"net must have shape \(12, ..., classes\).*got \(48,\)"),
        (nn.LSTM(4, 3), r"(?s)the output of net must be a torch.Tensor.*tuple"),
    ],
)
def test_a_network_that_has_no_answer_for_each_input_is_an_error(net, found):
    with pytest.raises((TypeError, ValueError), match=found):
        TwoMasks(net)(torch.ones(6, 4))


@pytest.mark.parametrize(("answers", "n"), [((3, 5, 4), (5,)), ((2, 5, 4), (6,)), ((2, 5, 4), ())])
def test_the_loss_takes_two_answers_and_no_more_labels_than_they_are_for(answers, n):
    with pytest.raises(ValueError, match="logits and y must have shapes"):
        r_drop(1.0)(torch.zeros(answers), torch.zeros(n, dtype=int))


def test_no_logit_is_too_large_for_the_loss(rng):
    logits = torch.tensor(1e4 * rng.normal(size=(2, 5, 4)), requires_grad=True)
    loss = r_drop(1.0)(logits, torch.tensor([0, 3, 1, 2, 2]))
    loss.backward()
    assert loss.isfinite()
    assert logits.grad.isfinite().all()


def test_a_batch_of_one_has_no_contrast_and_zeros_have_a_finite_one(rng):
    first, second = torch.tensor(rng.normal(size=(2, 4, 3)))
    assert contrastive_loss(first[:1], second[:1], 0.05) == 0
    zeros = torch.zeros_like(first, requires_grad=True)
    loss = contrastive_loss(zeros, second, 0.05)
    loss.backward()
    assert loss.item() == pytest.approx(np.log(4))
    assert zeros.grad.isfinite().all()


def test_the_loss_takes_labels_for_the_batch_and_agreement_for_all(rng):
    logits = torch.tensor(rng.normal(size=(2, 5, 4)))
    y = torch.tensor([0, 3, 1])  # the last two inputs have none
    of_labels = sum(classification_loss(each[:3], y) for each in logits) / 2
    expected = of_labels + 0.3 * disagreement(*logits).mean()
    torch.testing.assert_close(r_drop(0.3)(logits, y), expected)
    torch.testing.assert_close(r_drop(0.3)(logits[0, :3], y), classification_loss(logits[0, :3], y))


def test_networks_side_by_side_learn_with_it():
    def build():
        return TwoMasks(multilayer_perceptron([64, 32, 10], 0.8))

    splits = [load_digits(200, n_test=400, seed=seed) for seed in range(2)]
    _, history = train_seeds(build, splits, epochs=20, loss=r_drop(1.0))
    assert (history.test_error[-1] < 0.3).all()


def test_contrast_is_low_where_each_view_is_nearest_to_its_own(rng):
    views = torch.tensor(rng.normal(size=(6, 30)))
    close, far = views + 0.01, views[torch.arange(6).roll(1)]
    losses = [contrastive_loss(views, other, 0.05).item() for other in (close, far)]
    assert losses[0] < 0.01 < np.log(6) < losses[1]
    scaled = contrastive_loss(3 * views, close * torch.arange(1, 7)[:, None], 0.05).item()
    assert scaled == pytest.approx(losses[0])  # only directions count


def test_views_that_are_all_alike_are_told_apart_by_chance():
    loss = contrastive_loss(torch.ones(8, 3), torch.ones(8, 3), 0.05)
    assert loss.item() == pytest.approx(np.log(8))
