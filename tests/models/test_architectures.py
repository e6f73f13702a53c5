"""What holds for models of torchvision, timm and transformers, small and with random weights."""

import copy
import warnings
from functools import partial

import pytest
import timm
import torch
from chance import is_near
from torch import nn
from torchvision.models import SwinTransformer, VisionTransformer, efficientnet_b0, resnet18
from training_runs import modes
from transformers import (
    BertConfig,
    BertForSequenceClassification,
    GPT2Config,
    GPT2LMHeadModel,
    ViTConfig,
    ViTForImageClassification,
)

from lib.inference import masks_held, mc_samples, sampling, stochastic_layers
from lib.layers import Dropout, FractalBlock, SpatialDropout, StochasticDepth

IMAGES, CLASSES = (2, 3, 32, 32), 5


def vit(**rates):
    model = VisionTransformer(32, 8, 2, 2, 32, 64, num_classes=CLASSES, **rates)
    nn.init.normal_(model.heads.head.weight)  # they begin with zeros
    return model


def swin(depth=0.0, **rates):
    sizes = {"patch_size": [4, 4], "embed_dim": 32, "depths": [1, 1], "num_heads": [2, 4]}
    settings = {"window_size": [4, 4], "num_classes": CLASSES}
    return SwinTransformer(**sizes, **settings, stochastic_depth_prob=depth, **rates)


def efficientnet():
    return efficientnet_b0(num_classes=CLASSES)


def resnet(last=None):
    model = resnet18(num_classes=CLASSES)
    model.fc = nn.Sequential(last or nn.Identity(), model.fc)
    return model


def timm_vit(**rates):
    small = {"img_size": 32, "patch_size": 8, "depth": 2, "num_classes": CLASSES}
    return timm.create_model("vit_tiny_patch16_224", **small, **rates)


def timm_resnet(**rates):
    return timm.create_model("resnet10t", num_classes=CLASSES, zero_init_last=False, **rates)


SIZES = {"hidden_size": 32, "num_hidden_layers": 2, "num_attention_heads": 2}
SIZES["intermediate_size"] = 64


def bert(hidden=0.1, attention=0.1, **settings):
    rates = {"hidden_dropout_prob": hidden, "attention_probs_dropout_prob": attention}
    config = BertConfig(vocab_size=50, initializer_range=0.5, **SIZES, **rates, **settings)
    return BertForSequenceClassification(config)


def transformers_vit(**rates):
    config = ViTConfig(image_size=32, patch_size=8, num_labels=CLASSES, **SIZES, **rates)
    return ViTForImageClassification(config)


def gpt2(**rates):
    sizes = {"vocab_size": 50, "n_positions": 8, "n_embd": 32, "n_layer": 2, "n_head": 2}
    return GPT2LMHeadModel(GPT2Config(**sizes, bos_token_id=0, eos_token_id=0, **rates))


def inputs_of(model):
    """Arguments, by place and by name."""
    if isinstance(model, BertForSequenceClassification):
        mask = torch.tensor([7 * [1], 4 * [1] + 3 * [0]])
        return (), {"input_ids": torch.randint(50, (2, 7)), "attention_mask": mask}
    if isinstance(model, GPT2LMHeadModel):
        return (torch.randint(50, (2, 7)),), {"use_cache": False}
    return (torch.randn(IMAGES),), {}


def tensor_of(output):
    return output if isinstance(output, torch.Tensor) else output.logits


# Dropout that is found by the types or the names of its layers; how many drop.
FOUND = {
    "torchvision ViT": (partial(vit, dropout=0.1), 7),
    "torchvision ViT, attention": (partial(vit, attention_dropout=0.1), 2),
    "torchvision Swin, depth": (partial(swin, depth=0.3), 1),
    "torchvision EfficientNet": (efficientnet, 16),
    "torchvision ResNet, ours": (partial(resnet, Dropout(0.5)), 1),
    "timm ViT": (partial(timm_vit, drop_rate=0.1, drop_path_rate=0.2), 3),
    "timm ViT, patches": (partial(timm_vit, patch_drop_rate=0.5), 1),
    "timm ResNet, paths": (partial(timm_resnet, drop_path_rate=0.2), 3),
    "transformers BERT, no attention": (partial(bert, attention=0.0), 6),
}
# Dropout that a module does by a function: which classes these are.
BY_FUNCTION = {
    "torchvision Swin, attention": (
        partial(swin, dropout=0.1, attention_dropout=0.3),
        "ShiftedWindowAttention",
    ),
    "timm ViT, attention": (partial(timm_vit, attn_drop_rate=0.1), "Attention"),
    "transformers BERT": (bert, "BertSelfAttention"),
    "transformers BERT, attention alone": (
        partial(bert, hidden=0.0, classifier_dropout=0.0),
        "BertSelfAttention",
    ),
    "transformers BERT, eager": (partial(bert, attn_implementation="eager"), "BertSelfAttention"),
    "transformers ViT": (
        partial(transformers_vit, hidden_dropout_prob=0.1, attention_probs_dropout_prob=0.1),
        "ViTAttention",
    ),
    "transformers GPT-2": (gpt2, "GPT2Attention"),
}
WITHOUT = {
    "torchvision ViT": vit,
    "torchvision Swin": swin,
    "torchvision ResNet": resnet,
    "timm ViT": timm_vit,
    "transformers BERT": partial(bert, hidden=0.0, attention=0.0),
}


def assert_samples_are_those_of_training(model, args, kwargs, **which):
    """Of training with batch norm in eval; and the model stays as it was."""
    n = 60 if any(isinstance(module, nn.BatchNorm2d) for module in model.modules()) else 250
    before = copy.deepcopy(model.state_dict())
    modes_before = modes(model)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        samples = tensor_of(mc_samples(model, args, n, kwargs=kwargs, **which))
    assert modes(model) == modes_before
    assert all(torch.equal(value, before[name]) for name, value in model.state_dict().items())
    trained = copy.deepcopy(model).train()
    for module in trained.modules():
        if isinstance(module, nn.modules.batchnorm._BatchNorm):
            module.eval()
    with torch.no_grad():
        training = torch.stack([tensor_of(trained(*args, **kwargs)) for _ in range(n)])
        assert torch.equal(*(tensor_of(model.eval()(*args, **kwargs)) for _ in range(2)))
    assert len(samples.flatten(1).unique(dim=0)) >= 6
    std = (samples.double().var(dim=0) + training.double().var(dim=0)).sqrt()
    assert is_near(samples.mean(dim=0) - training.mean(dim=0), 0, std, n)
    variance = training.double().var(dim=0).mean().item()
    assert samples.double().var(dim=0).mean() == pytest.approx(variance, rel=0.6)


@pytest.mark.parametrize("name", FOUND)
def test_layers_are_found_and_the_samples_are_those_of_training(name):
    make, count = FOUND[name]
    model = make()
    assert len(stochastic_layers(model)) == count
    assert_samples_are_those_of_training(model, *inputs_of(model))


@pytest.mark.parametrize("name", BY_FUNCTION)
def test_functions_are_reported_and_reached_where_it_is_asked_for(name):
    make, kind = BY_FUNCTION[name]
    model = make()
    args, kwargs = inputs_of(model)
    with pytest.raises(ValueError, match=rf"model must .*({kind}|none)"):
        mc_samples(model, args, 5, kwargs=kwargs)
    if stochastic_layers(model):
        with pytest.raises(ValueError, match=kind), sampling(model):
            model(*args, **kwargs)
    (also,) = {type(each) for each in model.modules() if type(each).__name__ == kind}
    for which in ({"also": also}, {"layers": "all"}):
        assert_samples_are_those_of_training(model, args, kwargs, **which)


@pytest.mark.parametrize("name", WITHOUT)
def test_a_model_that_drops_nothing_is_an_error(name):
    model = WITHOUT[name]()
    args, kwargs = inputs_of(model)
    with pytest.raises(ValueError, match="model must have a layer that drops at random"):
        mc_samples(model, args, 5, kwargs=kwargs)
    with pytest.raises(ValueError, match="model must give samples that differ"):
        mc_samples(model, args, 5, kwargs=kwargs, layers="all")


def test_a_head_of_zeros_gives_equal_samples_which_is_an_error():
    model = vit(dropout=0.1)
    nn.init.zeros_(model.heads.head.weight)
    with pytest.raises(ValueError, match="random numbers were drawn, but 100 more samples"):
        mc_samples(model, torch.randn(IMAGES), 5)


MASKED = ("timm ViT", "torchvision EfficientNet", "transformers BERT, no attention")


@pytest.mark.parametrize("name", MASKED)
def test_equal_examples_have_equal_samples_with_the_same_masks(name):
    model = FOUND[name][0]()
    args, kwargs = inputs_of(model)
    args = tuple(x[:1].expand_as(x) for x in args)
    kwargs = {key: x[:1].expand_as(x) for key, x in kwargs.items()}
    samples = tensor_of(mc_samples(model, args, 6, kwargs=kwargs, same_masks=True))
    torch.testing.assert_close(samples[:, 0], samples[:, 1], rtol=1e-4, atol=1e-4)
    assert len(samples.flatten(1).unique(dim=0)) > 1


@pytest.mark.parametrize("name", FOUND)
def test_held_masks_are_the_same_at_every_call(name):
    model = FOUND[name][0]().eval()
    args, kwargs = inputs_of(model)
    with torch.no_grad(), sampling(model), masks_held(model):
        first, second = (tensor_of(model(*args, **kwargs)) for _ in range(2))
    assert torch.equal(first, second)


def decoded(model, tokens):
    """Logits of one token after the other."""
    cache, steps = None, []
    for token in tokens.split(1, dim=1):
        output = model(token, past_key_values=cache, use_cache=True)
        cache = output.past_key_values
        steps.append(output.logits)
    return torch.cat(steps, dim=1)


@pytest.mark.filterwarnings("ignore::FutureWarning")
def test_a_gpt_decodes_step_by_step_with_masks_that_stay():
    model, tokens = gpt2(attn_pdrop=0.0).eval(), torch.randint(50, (2, 5))
    with torch.no_grad(), sampling(model):
        with masks_held(model):
            first, second = (decoded(model, tokens) for _ in range(2))
        assert torch.equal(first, second)
        with masks_held(model):
            assert not torch.equal(decoded(model, tokens), first)
    dropped = gpt2().eval()  # its attention has a mask for each pair of tokens, more at each step
    which = {"layers": "all"}
    with torch.no_grad(), sampling(dropped, **which), masks_held(dropped, **which):  # noqa: SIM117
        with pytest.raises(ValueError, match="x must have the shape that it had"):
            decoded(dropped, tokens)


# Layers of ours in their models


def blocks_of_ours(model):
    """Stochastic depth of ours in place of torchvision's residual blocks' own sum."""

    class Branch(nn.Module):
        def __init__(self, block):
            super().__init__()
            parts = block.conv1, block.bn1, block.relu, block.conv2, block.bn2
            self.parts = nn.Sequential(*parts)

        def forward(self, x):
            return self.parts(x)

    for layer in (model.layer1, model.layer2, model.layer3, model.layer4):
        layer[1] = StochasticDepth(Branch(layer[1]), 0.7, "example")
    return model


OURS = {
    "stochastic depth": lambda: blocks_of_ours(resnet()),
    "spatial dropout": lambda: nn.Sequential(
        resnet18().conv1, SpatialDropout(0.7, 2), nn.Flatten(), nn.Linear(64 * 256, CLASSES)
    ),
    "a fractal block in a ViT": lambda: with_fractal_mlp(vit()),
}


def with_fractal_mlp(model):
    def mlp():
        return nn.Sequential(nn.Linear(32, 32), nn.GELU())

    for layer in model.encoder.layers:
        layer.mlp = FractalBlock(mlp, 2, gate="example")
    return model


@pytest.mark.parametrize("name", OURS)
def test_layers_of_ours_in_other_peoples_models(name):
    model = OURS[name]()
    assert_samples_are_those_of_training(model, *inputs_of(model))
