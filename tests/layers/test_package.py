"""What the layers do if nothing is said, and how long their files are."""

import inspect

import pytest
from repository import ROOT

import lib.layers

DEFAULTS = {
    "ConcreteDropout": {"keep_prob": 0.9, "temperature": 0.1, "spatial_dims": 0},
    "DropBlock2d": {"block_size": 7, "keep_prob": 0.9, "masks": "channel"},
    "DropConnectConv2d": {"keep_prob": 0.5, "masks": "example"},
    "DropConnectLinear": {"keep_prob": 0.5, "masks": "example"},
    "Dropout": {"keep_prob": 0.5, "scaling": "inverted"},
    "FastDropoutLinear": {"keep_prob": 0.5},
    "FractalBlock": {"keep_prob": 0.85, "global_share": 0.5, "gate": "batch", "skip": True},
    "FractalJoin": {"keep_prob": 0.85, "gate": "batch"},
    "GaussianDropout": {"keep_prob": 0.5},
    "MaxPoolDropout2d": {"keep_prob": 0.5},
    "RecurrentDropoutGRU": {"keep_prob": 0.5, "recurrent_keep_prob": None, "masks": "sequence"},
    "RecurrentDropoutLSTM": {"keep_prob": 0.5, "recurrent_keep_prob": None, "masks": "sequence"},
    "SpatialDropout": {"keep_prob": 0.5},
    "StochasticDepth": {"survival_prob": 0.5, "gate": "batch", "scaling": "inverted", "skip": True},
    "VariationalLinear": {"log_sigma2": -10.0, "threshold": 3.0},
}


@pytest.mark.parametrize("name", DEFAULTS)
def test_what_is_not_said_stays_what_it_was(name):
    parameters = inspect.signature(getattr(lib.layers, name)).parameters
    said = {each: parameters[each].default for each in DEFAULTS[name]}
    assert said == DEFAULTS[name]


@pytest.mark.parametrize(
    "path", sorted((ROOT / "lib" / "layers").glob("*.py")), ids=lambda p: p.stem
)
def test_a_file_is_read_in_one_sitting(path):
    assert len(path.read_text(encoding="utf-8").splitlines()) <= 200
