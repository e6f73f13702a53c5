"""What holds for every layer."""

import copy
import io
import pickle
from functools import partial

import numpy as np
import pytest
import torch
from chance import few_examples, is_near, keep_probs
from hypothesis import given
from hypothesis import strategies as st
from layer_runs import DTYPES, in_vmap, output_and_gradient, under_seed
from torch import nn

from lib.layers import Dropout, GaussianDropout

# name: takes a keep_prob, gives the layer
LAYERS = {
    "Dropout": Dropout,
    "Dropout, weight": partial(Dropout, scaling="weight"),
    "GaussianDropout": GaussianDropout,
}
every_layer = pytest.mark.parametrize("make", LAYERS.values(), ids=LAYERS)
any_layer = st.sampled_from(list(LAYERS.values()))


@pytest.fixture(autouse=True)
def seeded():
    torch.manual_seed(0)


# Training


@few_examples
@given(make=any_layer, keep_prob=keep_probs, dtype=st.sampled_from(DTYPES))
def test_the_output_is_the_input_times_a_mask_of_its_dtype_which_is_the_gradient(
    make, keep_prob, dtype
):
    layer, x = make(keep_prob), torch.linspace(-3, 3, 500).to(dtype)
    y, gradient = under_seed(partial(output_and_gradient, layer), x)
    mask = under_seed(layer, torch.ones_like(x))
    assert y.dtype == mask.dtype == dtype
    assert torch.equal(gradient, mask)
    assert torch.equal(y, x * mask)


@every_layer
@pytest.mark.parametrize("keep_prob", [0.3, 0.5, 1.0, 1e-9])
def test_gradients_agree_with_finite_differences_under_a_fixed_seed(make, keep_prob):
    layer = make(keep_prob)
    x = torch.randn(3, 4, dtype=torch.float64, requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: under_seed(layer, x), x)
    assert torch.autograd.gradgradcheck(lambda x: under_seed(layer, x), x)


@every_layer
def test_the_input_stays_as_it_was(make):
    x = torch.rand(30)
    before = x.clone()
    make(0.5)(x)
    assert torch.equal(x, before)


@every_layer
@pytest.mark.parametrize("x", [torch.ones(50, 64), torch.ones(1, 1).expand(50, 64)])
def test_each_entry_has_a_mask_of_its_own_even_where_they_share_memory(make, x):
    masks = make(0.5)(x)
    assert len(masks.unique(dim=0)) == 50
    assert len(masks.unique(dim=1).T) == 64


@every_layer
def test_each_call_draws_a_new_mask(make):
    layer, x = make(0.5), torch.ones(100)
    assert not torch.equal(layer(x), layer(x))


@every_layer
def test_the_seed_of_torch_decides_on_the_mask(make):
    layer, x = make(0.5), torch.ones(100)
    first, same, other = (under_seed(layer, x, seed) for seed in (3, 3, 4))
    assert torch.equal(first, same)
    assert not torch.equal(first, other)


@every_layer
@pytest.mark.parametrize("x", [torch.ones(3, dtype=torch.int64), torch.ones(3).bool(), 1j])
def test_an_input_that_is_not_floating_point_is_a_type_error(make, x):
    with pytest.raises(TypeError, match="x must have a floating-point dtype, got torch"):
        make(0.5)(torch.as_tensor(x))


# Eval


@every_layer
@pytest.mark.parametrize("training", [True, False])
def test_keep_prob_one_is_the_identity(make, training):
    x = torch.randn(10, 4)
    y, gradient = output_and_gradient(make(1).train(training), x)
    assert torch.equal(y, x)
    assert (gradient == 1).all()


@every_layer
def test_neither_eval_nor_keep_prob_one_draws_random_numbers(make):
    before = torch.get_rng_state()
    make(0.5).eval()(torch.ones(10))
    make(1)(torch.ones(10))
    assert torch.equal(torch.get_rng_state(), before)


# Shapes, layouts, devices


@pytest.mark.parametrize(
    "shape", [(), (1,), (7,), (0,), (0, 5), (4, 0, 3), (3, 5), (2, 3, 5), (1, 2, 3, 4, 5)]
)
@every_layer
def test_any_shape_comes_back_and_passes_gradients(make, shape):
    y, gradient = output_and_gradient(make(0.5), torch.ones(shape))
    assert y.shape == gradient.shape == shape


@every_layer
def test_an_example_alone_is_treated_as_in_a_batch_of_one(make):
    layer, x = make(0.5), torch.randn(9)
    assert torch.equal(under_seed(layer, x), under_seed(layer, x[None])[0])


@every_layer
def test_channels_last_stays_channels_last(make):
    x = torch.randn(2, 3, 4, 5).to(memory_format=torch.channels_last)
    assert make(0.5)(x).is_contiguous(memory_format=torch.channels_last)


@every_layer
def test_the_output_is_on_the_device_of_the_input(make):
    y = make(0.5)(torch.ones(3, 4, device="meta"))
    assert (y.device.type, y.shape) == ("meta", (3, 4))


# Copies


def saved_and_loaded(layer):
    file = io.BytesIO()
    torch.save(layer, file)
    file.seek(0)
    return torch.load(file, weights_only=False)


@pytest.mark.parametrize(
    "copy_of", [copy.copy, copy.deepcopy, lambda x: pickle.loads(pickle.dumps(x)), saved_and_loaded]
)
@every_layer
def test_a_copy_has_the_settings_and_the_mode_of_the_layer(copy_of, make):
    layer = make(0.3).eval()
    other = copy_of(layer)
    assert (other.keep_prob, other.training) == (0.3, False)
    assert repr(other) == repr(layer)
    x = torch.randn(20)
    assert torch.equal(under_seed(layer.train(), x), under_seed(other.train(), x))


@every_layer
def test_the_state_of_a_net_fits_one_with_torchs_layer(make):
    ours = nn.Sequential(nn.Linear(3, 4), make(0.5), nn.Linear(4, 2))
    torchs = nn.Sequential(nn.Linear(3, 4), nn.Dropout(0.5), nn.Linear(4, 2))
    torchs.load_state_dict(ours.state_dict())
    ours[0].weight.data.zero_()
    ours.load_state_dict(torchs.state_dict())
    assert torch.equal(ours[0].weight, torchs[0].weight)
    assert not make(0.5).state_dict()


# torch.func


@every_layer
@pytest.mark.parametrize("keep_prob", [0.5, 1e-9])
def test_under_vmap_each_model_has_its_own_mask(make, keep_prob):
    y = in_vmap(make(keep_prob), torch.ones(20, 7, 9), "different")
    assert y.shape == (20, 7, 9)
    if keep_prob == 0.5:
        assert len(y.unique(dim=0)) == 20


@every_layer
def test_under_vmap_models_that_share_an_input_have_their_own_masks_too(make):
    layer, x = make(0.5), torch.ones(7, 9)
    y = in_vmap(lambda _: layer(x), torch.arange(20), "different")
    assert y.shape == (20, 7, 9)
    assert len(y.unique(dim=0)) == 20


@every_layer
def test_under_vmap_masks_are_independent_across_models(make):
    models, units = 40, 5000
    masks = in_vmap(make(0.5), torch.ones(models, units), "different")
    assert is_near(np.corrcoef(masks.numpy()), np.eye(models), 1, units)


@every_layer
def test_under_vmap_models_share_a_mask_where_the_same_randomness_is_asked_for(make):
    y = in_vmap(make(0.5), torch.ones(20, 100), "same")
    assert (y == y[0]).all()
    assert len(y[0].unique()) > 1


@every_layer
def test_functional_gradients_are_masked_as_the_output_is(make):
    layer, x = make(0.5), torch.rand(100) + 1
    gradient = under_seed(torch.func.grad(lambda x: layer(x).sum()), x)
    torch.testing.assert_close(gradient, under_seed(layer, x) / x)


@every_layer
def test_under_vmap_gradients_have_a_mask_for_each_example(make):
    layer, x = make(0.5), torch.rand(20, 100)
    of_the_sum = torch.func.grad_and_value(lambda x: layer(x).sum())
    gradients, sums = in_vmap(of_the_sum, x, "different")
    assert len(gradients.unique(dim=0)) == 20
    torch.testing.assert_close(sums, (gradients * x).sum(dim=1))


# Bad input, said in one voice
