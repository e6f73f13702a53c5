"""What holds for the networks that lessons and experiments train."""

import pickle

import numpy as np
import pytest
import torch
from torch import nn
from torch.nn.utils import parametrizations, prune

from lib.inference import masks_held, mc_samples, sampling
from lib.layers import (
    DropConnectLinear,
    Dropout,
    FastDropoutLinear,
    GaussianDropout,
    StochasticDepth,
)
from lib.masks import all_masks, mask_probabilities
from lib.networks import (
    AdaptedLinear,
    digit_classifier,
    multilayer_perceptron,
    residual_net,
    transformer,
)


def test_a_network_has_its_masks_on_the_inputs_and_behind_each_hidden_layer():
    net = multilayer_perceptron([7, 5, 4, 3], keep_input=0.8, keep_hidden=0.5)
    hidden = [nn.Linear, nn.ReLU, Dropout]
    assert [type(layer) for layer in net] == [Dropout, *hidden, *hidden, nn.Linear]
    assert [net[i].keep_prob for i in (0, 3, 6)] == [0.8, 0.5, 0.5]
    assert net(torch.ones(2, 7)).shape == (2, 3)


def test_the_classifier_of_digits_has_two_masks_of_any_kind():
    for mask in (Dropout, GaussianDropout):
        net = digit_classifier(0.5, mask)
        assert [type(net[i]) for i in (2, 5)] == [mask, mask]
        assert net(torch.rand(3, 64)).shape == (3, 10)


def test_a_residual_net_has_a_block_for_each_survival_probability():
    net = residual_net([0.9, 0.5], maps=4)
    blocks = [layer for layer in net if isinstance(layer, StochasticDepth)]
    assert [block.survival_prob for block in blocks] == [0.9, 0.5]
    assert net(torch.rand(3, 784)).shape == (3, 10)


KEEP = {
    "keep_embedding": 0.9, "keep_attention": 0.8, "keep_hidden": 0.7, "keep_branch": 0.6
}  # fmt: skip


def test_a_transformer_has_its_masks_where_it_says():
    net = transformer(20, [0.5, 0.4], width=8, heads=2, context=10, **KEEP)
    seen = {}
    for name, layer in net.named_modules():
        if isinstance(layer, Dropout):
            layer.register_forward_hook(
                lambda layer, x, y, name=name: seen.update({name: (layer.keep_prob, x[0].shape)})
            )
    for layer in net:
        if isinstance(layer, StochasticDepth):
            layer.survival_prob = 1.0  # else a hook may not be reached
    net(torch.randint(20, (3, 10)))
    of_places, hidden, weights = (3, 10, 8), (3, 10, 32), (3, 2, 10, 10)
    assert seen == {
        "1": (0.9, of_places),
        **{f"{i}.branch.1.drop": (0.8, weights) for i in (2, 4)},
        **{f"{i}.branch.3": (0.7, hidden) for i in (3, 5)},
        **{f"{i}.branch.2": (0.6, of_places) for i in (2, 4)},
        **{f"{i}.branch.5": (0.6, of_places) for i in (3, 5)},
    }


def test_both_branches_of_a_block_survive_alike_with_gates_for_each_sequence():
    net = transformer(20, [0.5, 0.4], width=8, heads=2)
    branches = [layer for layer in net if isinstance(layer, StochasticDepth)]
    assert [layer.survival_prob for layer in branches] == [0.5, 0.5, 0.4, 0.4]
    assert {layer.gate for layer in branches} == {"example"}


def test_no_place_of_a_transformer_sees_a_later_one():
    torch.manual_seed(0)
    net = transformer(20, [1.0], width=8, heads=2, context=10).eval()
    tokens = torch.randint(20, (1, 10))
    changed = tokens.clone()
    changed[0, 6] = (tokens[0, 6] + 1) % 20
    differs = (net(tokens) != net(changed)).any(dim=-1)[0]
    assert differs.tolist() == [False] * 6 + [True] * 4
    assert torch.allclose(net(tokens[:, :4]), net(tokens)[:, :4], atol=1e-6)


def test_attention_is_torchs():
    torch.manual_seed(0)
    attention = transformer(20, [1.0], width=8, heads=2)[2].branch[1].eval()
    x = torch.randn(3, 5, 8)
    torchs = nn.MultiheadAttention(8, 2, batch_first=True).eval()
    with torch.no_grad():
        torchs.in_proj_weight.copy_(attention.project.weight)
        torchs.in_proj_bias.copy_(attention.project.bias)
        torchs.out_proj.load_state_dict(attention.out.state_dict())
    later = torch.ones(5, 5, dtype=torch.bool).triu(1)
    assert torch.allclose(attention(x), torchs(x, x, x, attn_mask=later)[0], atol=1e-6)


def test_each_head_has_a_mask_of_its_own():
    torch.manual_seed(0)
    attention, masks = transformer(20, [1.0], 8, 2, keep_attention=0.5)[2].branch[1], []
    attention.drop.register_forward_hook(lambda layer, x, y: masks.append(y[:, :, -1] > 0))
    attention(torch.randn(4000, 3, 8))
    first, second = masks[0].double().transpose(0, 1).flatten(1)
    assert abs((first - 0.5) @ (second - 0.5)) / len(first) < 0.25 * 5 / len(first) ** 0.5


def test_with_masks_on_no_place_has_a_gradient_of_a_later_one():
    net = transformer(20, [0.7, 0.6], width=8, heads=2, context=10, **KEEP)
    x = torch.randn(50, 10, 8, requires_grad=True)
    net[1:](x)[:, 6].sum().backward()
    assert (x.grad[:, 7:] == 0).all()
    assert x.grad[:, :7].any()


@pytest.mark.parametrize("place", KEEP)
def test_each_mask_of_a_transformer_is_sampled(place):
    net = transformer(20, [1.0], width=8, heads=2, **{place: 0.5}).eval()
    tokens = torch.randint(20, (2, 6))
    assert torch.equal(net(tokens), net(tokens))
    assert mc_samples(net, tokens, 5).std(dim=0).max() > 0


def test_heads_that_do_not_divide_the_width_are_an_error():
    with pytest.raises(ValueError, match="^width must be a multiple of heads, got 8 and 3$"):
        transformer(20, [1.0], width=8, heads=3)


def adapted(keep_prob=0.5):
    """A layer of four inputs and three units, whose adapter has learned something."""
    layer = AdaptedLinear(nn.Linear(4, 3), rank=2, alpha=6.0, keep_prob=keep_prob).double()
    nn.init.normal_(layer.B)
    return layer


def test_an_adapted_layer_starts_as_the_layer_and_trains_its_adapter_alone():
    linear, x = nn.Linear(4, 3), torch.rand(5, 4)
    layer = AdaptedLinear(linear, rank=2, keep_prob=0.5)
    assert torch.equal(layer(x), linear(x))
    layer(x).sum().backward()
    learned = {name for name, each in layer.named_parameters() if each.grad is not None}
    assert learned == {"A", "B"}


@pytest.mark.parametrize("keep_prob", [0.3, 1.0])
def test_a_merged_layer_computes_what_the_adapted_one_does_in_eval(keep_prob):
    layer, x = adapted(keep_prob).eval(), torch.rand(5, 4).double()
    before = layer.linear.weight.clone()
    merged = layer.merged()
    assert torch.allclose(merged(x), layer(x))
    assert torch.equal(layer.linear.weight, before)
    assert type(merged) is nn.Linear


@pytest.mark.parametrize("bias", [True, False])
@pytest.mark.parametrize("dtype", [torch.float16, torch.bfloat16, torch.float64], ids=str)
def test_an_adapter_and_a_merged_layer_are_of_the_layers_dtype(dtype, bias):
    layer = AdaptedLinear(nn.Linear(4, 3, bias=bias, dtype=dtype), rank=2, keep_prob=0.5)
    merged = layer.merged()
    assert {each.dtype for each in (*layer.parameters(), *merged.parameters())} == {dtype}
    assert layer(torch.rand(5, 4, dtype=dtype)).dtype == dtype
    assert (merged.bias is not None) == bias
    assert not any(each.requires_grad for each in merged.parameters())


NOT_PLAIN = {
    "a forward of its own": lambda: FastDropoutLinear(4, 3),
    "masks of its own": lambda: DropConnectLinear(4, 3),
    "no weights yet": lambda: nn.LazyLinear(3),
    "complex": lambda: nn.Linear(4, 3, dtype=torch.complex64),
    "spectral norm": lambda: parametrizations.spectral_norm(nn.Linear(4, 3)),
    "pruned": lambda: prune.random_unstructured(nn.Linear(4, 3), "weight", 0.5),
}


@pytest.mark.parametrize("make", NOT_PLAIN.values(), ids=NOT_PLAIN)
def test_a_layer_that_could_not_be_merged_is_not_adapted_and_not_frozen(make):
    linear = make()
    with pytest.raises(ValueError, match=r"^linear must be a plain torch.nn.Linear, .*, got "):
        AdaptedLinear(linear)
    assert all(each.requires_grad for each in linear.parameters())


def test_an_adapted_layer_is_sampled_held_and_saved_as_a_layer_with_masks_is():
    layer, x = adapted().eval(), torch.rand(5, 4).double()
    assert torch.equal(pickle.loads(pickle.dumps(layer))(x), layer(x))
    with sampling(layer):
        assert not torch.equal(layer(x), layer(x))
    assert not any(module.training for module in layer.modules())
    with masks_held(layer.train()):
        assert torch.equal(layer(x), layer(x))
    new = AdaptedLinear(nn.Linear(4, 3), rank=2, alpha=6.0).double()
    new.load_state_dict(layer.state_dict())
    assert torch.equal(new(x), layer.eval()(x))


def test_merging_does_not_depend_on_the_mode():
    layer = adapted()
    assert torch.equal(layer.train().merged().weight, layer.eval().merged().weight)


def test_over_all_masks_the_mean_is_eval_and_the_variance_is_of_the_adapter_alone():
    layer, x = adapted(0.7), torch.rand(4).double()
    masks, chances = all_masks(4), mask_probabilities(all_masks(4), 0.7)
    with torch.no_grad():
        change = layer.factor * layer.B @ layer.A
        outputs = layer.linear(x) + torch.tensor(masks / 0.7) * x @ change.T
        mean, expected = chances @ outputs.numpy(), layer.eval()(x).numpy()
    assert np.allclose(mean, expected)
    variance = chances @ np.square(outputs.numpy() - mean)
    assert np.allclose(variance, 0.3 / 0.7 * np.square((change * x).numpy()).sum(axis=1))


@pytest.mark.parametrize("training", [True, False])
def test_an_adapter_takes_the_mode_of_its_layer(training):
    layer = AdaptedLinear(nn.Linear(3, 2).train(training), 2, 2.0, 0.5)
    assert {part.training for part in layer.modules()} == {training}


@pytest.mark.parametrize(
    ("context", "shape"), [(1, (2, 3)), (4, (2, 5)), (4, (3,)), (4, (1, 2, 3))]
)
def test_a_text_that_does_not_fit_the_context_is_an_error(context, shape):
    net = transformer(5, [1.0], width=4, heads=1, context=context)
    with pytest.raises(ValueError, match=rf"tokens must have .*n up to {context}"):
        net(torch.zeros(shape, dtype=int))


def test_the_mask_is_on_the_input_of_the_adapter():
    torch.manual_seed(0)
    layer, x = adapted(0.5), torch.rand(20_000, 4).double()
    with torch.no_grad():
        drawn = layer(x[:1].expand(20_000, 4)) - layer.linear(x[:1])
        change = layer.factor * layer.B @ layer.A
        possible = 2 * torch.tensor(all_masks(4)) * x[:1] @ change.T
        nearest = torch.cdist(drawn, possible).min(dim=1)
    assert nearest.values.max() < 1e-6
    assert torch.bincount(nearest.indices, minlength=16).min() > 20_000 / 16 * 0.8
