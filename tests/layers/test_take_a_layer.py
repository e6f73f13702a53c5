"""What an engineer takes along who copies a layer, or all, or installs the package."""

import re
import shutil
import sys
import tomllib

import pytest
from commands import call
from needed import LIBRARY, files_for, packages_for
from repository import ROOT, put, text_of

import lib.layers

PAGE = text_of("book/take-a-layer.md")
FILES = {
    name: LIBRARY / "layers" / f"{value.__module__.rpartition('.')[2]}.py"
    for name, value in vars(lib.layers).items()
    if isinstance(value, type) and value is not lib.layers.StochasticLayer
}
ALWAYS = {LIBRARY / "validation.py", LIBRARY / "layers" / "base.py"}
PYPROJECT = tomllib.loads(text_of("pyproject.toml"))["project"]
CORE, EXTRAS = PYPROJECT["dependencies"], PYPROJECT["optional-dependencies"]
# Modules that work with what pip installs, by what it is asked for.
INSTALLED = {
    "": ["inference", "layers", "masks", "networks", "representation", "uncertainty"],
    "training": ["datasets", "side_by_side", "training"],
}

PREPARE = """
import sys
for other in {missing}:
    sys.modules[other] = None
import torch
x, model = torch.ones(4, 5), torch.nn.Module()
"""
# Another `lib` is in the way, which has none of this.
OWN = {"lib/__init__.py": "NAME = 'the project itself'", "lib/validation.py": "1 / 0"}
THAT_IS_OWN = "import lib\nassert lib.NAME == 'the project itself'\n"
NOT_NEEDED = ("scipy", "sklearn", "pandas", "matplotlib", "keras", "tqdm", "IPython", "pooch")


def run(script, folder, missing=NOT_NEEDED, path=""):
    code, said = call(
        sys.executable, "-c", PREPARE.format(missing=missing) + script, cwd=folder, PYTHONPATH=path
    )
    assert code == 0, said


def blocks():
    """The Python of the page: one layer, all layers, sampling."""
    return re.findall(r"```python\n(.*?)```", PAGE, re.S)


def test_inside_the_layers_every_import_of_the_library_is_relative():
    """Else a copy under another name breaks: `from .draw import ...`, `from ..validation`."""
    for path in (LIBRARY / "layers").glob("*.py"):
        found = re.findall(r"^\s*(?:from|import) lib\b.*", path.read_text(encoding="utf-8"), re.M)
        assert not found, path.name


def test_the_layers_need_torch_and_numpy_alone():
    assert packages_for(LIBRARY / "layers" / "__init__.py") == {"torch", "numpy"}


def test_the_page_says_of_each_layer_which_files_it_takes():
    rows = []
    for name, path in FILES.items():
        others = sorted(other.name for other in files_for(path) - ALWAYS - {path})
        rows.append(f"| `{name}` | `{path.name}` | {', '.join(f'`{each}`' for each in others)} |")
    said = [line.replace("| |", "|  |") for line in PAGE.splitlines() if line.startswith("| `")]
    assert sorted(said) == sorted(rows)


def test_each_layer_works_with_its_few_files_in_a_project_that_has_a_lib_of_its_own(tmp_path):
    put(tmp_path, OWN)
    script = THAT_IS_OWN
    for name, path in FILES.items():
        yours = tmp_path / f"only_{path.stem}"
        (yours / "layers").mkdir(parents=True, exist_ok=True)
        for file in files_for(path):
            shutil.copy(file, yours / file.relative_to(LIBRARY))
        script += f"from only_{path.stem}.layers.{path.stem} import {name}\n"
        script += f"assert {name}.__module__ == 'only_{path.stem}.layers.{path.stem}'\n"
    (tmp_path / "only_bernoulli").rename(tmp_path / "yours")
    script = script.replace("only_bernoulli", "yours")
    run(script + blocks()[0] + "assert set(y.unique().tolist()) <= {0, 1.25}\n", tmp_path)


def test_all_layers_work_under_another_name_in_a_project_that_has_a_lib_of_its_own(tmp_path):
    put(tmp_path, OWN)
    shutil.copytree(LIBRARY / "layers", tmp_path / "yours" / "layers")
    shutil.copy(LIBRARY / "validation.py", tmp_path / "yours")
    _, all_layers, sample = blocks()
    script = f"""{THAT_IS_OWN}{all_layers}
import yours.layers
for name in yours.layers.__all__:
    assert getattr(yours.layers, name).__module__.startswith("yours.layers.")
model = torch.nn.Sequential(Dropout(0.5), torch.nn.BatchNorm1d(5)).eval()
{sample}
assert [each.training for each in model] == [True, False]
try:
    Dropout(1.5)
except ValueError as error:
    assert str(error) == "keep_prob must be a number in (0, 1], or a tensor of them, got 1.5"
assert model[0](x).unique().tolist() == [0, 2]
"""
    run(script, tmp_path)


# The package


@pytest.mark.parametrize("extra", INSTALLED)
def test_what_pip_installs_is_enough_for_what_the_page_says(extra):
    available = {*CORE, *EXTRAS.get(extra, ())}
    for module in INSTALLED[extra]:
        path = LIBRARY / f"{module}.py"
        path = path if path.is_file() else LIBRARY / module / "__init__.py"
        assert packages_for(path) <= available, module


def test_the_extra_of_the_book_is_all_that_the_library_imports():
    needed = set().union(*(packages_for(path) for path in LIBRARY.rglob("*.py")))
    come_along = {"cycler"}  # with matplotlib
    by_name_alone = {"tabulate"}  # pandas imports it
    assert needed - come_along == {*CORE, *EXTRAS["book"]} - by_name_alone
    assert set(EXTRAS["training"]) <= set(EXTRAS["book"])


def test_layers_and_samples_work_with_torch_and_numpy_alone():
    script = """
from lib.inference import mc_samples
from lib.layers import Dropout
assert mc_samples(torch.nn.Sequential(Dropout(0.5)), x, 3).shape == (3, 4, 5)
"""
    run(script, ROOT)
