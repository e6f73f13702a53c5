"""What an engineer takes along who copies the layers, and what they do if nothing is said."""

import inspect
import shutil
import sys

import pytest
from commands import call
from repository import ROOT

import lib.layers

WITHOUT_THE_REST = """
import sys
for other in ("scipy", "sklearn", "pandas", "matplotlib", "keras", "tqdm", "IPython"):
    sys.modules[other] = None
import ours.layers
print(ours.layers.Dropout())
"""
DEFAULTS = {
    "ConcreteDropout": {"keep_prob": 0.9, "temperature": 0.1, "spatial_dims": 0},
    "DropBlock2d": {"block_size": 7, "keep_prob": 0.9, "masks": "channel"},
    "DropConnectLinear": {"keep_prob": 0.5},
    "Dropout": {"keep_prob": 0.5, "scaling": "inverted"},
    "FastDropoutLinear": {"keep_prob": 0.5},
    "FractalBlock": {"keep_prob": 0.85, "global_share": 0.5, "gate": "batch", "skip": True},
    "FractalJoin": {"keep_prob": 0.85, "gate": "batch"},
    "GaussianDropout": {"keep_prob": 0.5},
    "MaxPoolDropout2d": {"keep_prob": 0.5},
    "RecurrentDropoutLSTM": {"keep_prob": 0.5, "recurrent_keep_prob": None, "masks": "sequence"},
    "SpatialDropout": {"keep_prob": 0.5},
    "StochasticDepth": {"survival_prob": 0.5, "gate": "batch", "scaling": "inverted", "skip": True},
    "VariationalLinear": {"log_sigma2": -10.0, "threshold": 3.0},
}


def test_the_layers_need_torch_and_numpy_alone_under_any_name(tmp_path):
    folder = tmp_path / "ours"
    shutil.copytree(ROOT / "lib" / "layers", folder / "layers")
    for name in ("__init__.py", "validation.py"):
        shutil.copy(ROOT / "lib" / name, folder)
    for path in folder.rglob("*.py"):
        text = path.read_text(encoding="utf-8").replace("from lib.", "from ours.")
        path.write_text(text, encoding="utf-8")
    code, said = call(sys.executable, "-c", WITHOUT_THE_REST, cwd=tmp_path, PYTHONPATH="")
    assert (code, said.strip()) == (0, "Dropout(keep_prob=0.5, scaling='inverted')")


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
