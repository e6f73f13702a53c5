"""What holds for masks that are kept from call to call."""

import copy

import pytest
import torch
import torch.nn.functional as F
from layer_runs import every_gate
from stochastic_models import every_stochastic_model, small_net, stochastic_model
from torch import nn

from lib.inference import masks_held, mc_samples, sampling
from lib.layers import Dropout, FractalBlock, RecurrentDropoutLSTM, StochasticDepth
from lib.side_by_side import SideBySide


@every_stochastic_model
def test_every_call_inside_repeats_the_masks_of_the_first_and_outside_they_are_new(name):
    model, x = stochastic_model(name)
    with torch.no_grad(), sampling(model.eval()):
        outside = model(x.clone())
        with masks_held(model) as inside:
            assert inside is model
            first = model(x.clone())
            torch.rand(3)  # others may draw in between
            assert torch.equal(model(x.clone()), first)
            assert torch.equal(model(x.clone()), first)
        with masks_held(model):
            other = model(x.clone())
            assert torch.equal(model(x.clone()), other)
        after = model(x.clone())
    drawn = (outside, first, other, after)
    assert len(torch.stack(drawn).flatten(1).unique(dim=0)) == 4


def test_outside_of_training_and_sampling_nothing_is_drawn():
    model, x = small_net().eval(), torch.randn(5, 4)
    before = torch.get_rng_state()
    with masks_held(model):
        assert torch.equal(model(x), model(x))
    assert torch.equal(torch.get_rng_state(), before)


def test_other_random_numbers_go_on():
    model, x = small_net(), torch.randn(5, 4)
    with masks_held(model):
        model(x)
        first = torch.rand(3)
        model(x)
        assert not torch.equal(torch.rand(3), first)


def test_the_gradient_is_that_of_the_held_masks():
    layer, x = Dropout(0.5), torch.ones(50, requires_grad=True)
    with masks_held(layer):
        y = [layer(x) for _ in range(2)]
    for each in y:
        assert torch.equal(torch.autograd.grad(each.sum(), x)[0], y[0].detach())


@pytest.mark.parametrize("recurrent", ["state", "update", "cell", "weights"])
def test_steps_one_by_one_are_the_whole_sequence(recurrent):
    layer, x = RecurrentDropoutLSTM(3, 4, 0.5, recurrent=recurrent), torch.randn(6, 2, 3)
    with masks_held(layer):
        expected, (h, c) = layer(x)
        state, outputs = None, []
        for step in x.split(1):
            y, state = layer(step, state)
            outputs.append(y)
    torch.testing.assert_close(torch.cat(outputs), expected)
    torch.testing.assert_close(state[0], h)
    torch.testing.assert_close(state[1], c)
    with masks_held(layer):
        assert not torch.equal(layer(x)[0], expected)


def test_a_layer_in_two_places_keeps_a_mask_for_each():
    layer, x = nn.Dropout(0.5), torch.ones(2, 50)
    model = nn.Sequential(layer, nn.Identity(), layer)
    with masks_held(model):
        passes = [model(x) for _ in range(3)]
        both = (passes[0] > 0).double().mean()
        assert all(torch.equal(each, passes[0]) for each in passes)
        assert 0.1 < both < 0.4  # one mask for both would keep half
        steps = [layer(x) for _ in range(3)]  # not in a pass of the model
        assert torch.equal(steps[1], steps[0])
        assert torch.equal(steps[2], steps[0])
        assert torch.equal(model(x), passes[0])


def branch():
    return nn.Sequential(nn.Dropout(0.5), nn.Linear(8, 8))


@every_gate
@pytest.mark.parametrize("make", [StochasticDepth, FractalBlock])
def test_layers_inside_layers_are_held(make, gate):
    block = make(branch(), 0.5, gate) if make is StochasticDepth else make(branch, 2, gate=gate)
    model, x = nn.Sequential(nn.Dropout(0.5), block, Dropout(0.5)), torch.randn(4, 8)
    seen = set()
    for _ in range(10):
        with masks_held(model):
            passes = [model(x) for _ in range(3)]
            assert torch.equal(passes[1], passes[0])
            assert torch.equal(passes[2], passes[0])
        seen.add(passes[0].sum().item())
    assert len(seen) > 5


def test_a_batch_of_another_size_is_a_value_error():
    model, x = nn.Sequential(nn.Linear(4, 4), Dropout(0.5)), torch.randn(9, 4)
    with masks_held(model):
        first = model(x[:5])
        before = torch.get_rng_state()
        with pytest.raises(ValueError, match="x must have the shape that it had when the masks of"):
            model(x)
        assert torch.equal(torch.get_rng_state(), before)
        assert torch.equal(model(x[:5]), first)


class Functional(nn.Module):
    def forward(self, x):
        return F.dropout(x, 0.5, self.training)


def test_what_a_function_draws_is_held_where_it_is_asked_for_and_else_an_error():
    model, x = nn.Sequential(Functional(), nn.Dropout(0.5)), torch.ones(2, 50)
    with masks_held(model):
        model(x)
        with pytest.raises(ValueError, match="something else draws"):
            model(x)
    for which in ({"also": Functional}, {"layers": "all"}, {"layers": list(model)}):
        with masks_held(model, **which):
            assert torch.equal(model(x), model(x))
    with pytest.raises(ValueError, match="drops at random"), masks_held(nn.Linear(2, 2)):
        pass


def test_on_leaving_the_model_is_as_it_was_after_an_exception_too():
    model = small_net()
    before = copy.deepcopy(model)
    with pytest.raises(RuntimeError, match="shapes"), masks_held(model):
        model(torch.randn(5, 3))
    for module, other in zip(model.modules(), before.modules(), strict=True):
        assert vars(module).keys() == vars(other).keys()


def test_a_copy_made_inside_computes_with_its_own_weights():
    model, x = small_net(), torch.randn(5, 4)
    with masks_held(model):
        y, other = model(x), copy.deepcopy(model)
        nn.init.zeros_(other[3].weight)
        nn.init.zeros_(other[3].bias)
        assert (other(x) == 0).all()
        assert torch.equal(model(x), y)


def test_samples_of_a_model_whose_masks_are_held_are_an_error():
    model, x = small_net(), torch.randn(5, 4)
    with masks_held(model):
        with pytest.raises(ValueError, match="inside masks_held"):
            mc_samples(model, x, 5)
        with pytest.raises(ValueError, match="inside masks_held already"), masks_held(model):
            pass
        assert torch.equal(model(x), model(x))


def test_networks_side_by_side_each_keep_their_masks():
    nets, x = SideBySide([small_net() for _ in range(3)]), torch.randn(3, 5, 4)
    with masks_held(nets):
        first = nets(x)
        assert torch.equal(nets(x), first)
    assert not torch.equal(nets(x), first)
