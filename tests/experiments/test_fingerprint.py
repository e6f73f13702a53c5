"""What holds for fingerprints: they change with what a trial reaches, and with nothing else."""

import shutil
from functools import partial

import pytest
from toy_experiment import small, toy

from lib.experiments.fingerprint import LIBRARY, _digest

TRIALS = {
    "uci": "experiments/uci.py uci_trial",
    "speech": "experiments/speech.py speech_trial",
    "fractal": "fractal_trial.py trial",
}


def codes(library):
    """The fingerprint of each trial, with a copy of the library."""
    places = {name: place.split() for name, place in TRIALS.items()}
    return {
        name: _digest((library / file, function), library=library)
        for name, (file, function) in places.items()
    }


@pytest.mark.parametrize(
    ("file", "old", "new", "changed"),
    [
        ("experiments/uci.py", "LENGTH_SCALE = 0.01", "LENGTH_SCALE = 0.02", {"uci"}),
        ("datasets/speech.py", "FLOOR = 1e-8", "FLOOR = 1e-9", {"speech"}),
        ("layers/fractal.py", "global_share=0.5", "global_share=0.4", {"fractal"}),
        ("datasets/splits.py", "0.9 * rng", "0.8 * rng", set()),
        ("layers/base.py", "modes_restored", "modes_put_back", {"speech"}),
        ("training.py", ".argsort(dim=-1)", ".argsort(-1)", {"uci", "speech"}),
        ("experiments/uci.py", "# the paper of 2016", "# of the paper, 2016", set()),
        ("experiments/speech.py", '"""Train on', '"""Train it on', set()),
        ("experiments/uci.py", "epochs=4000", "epochs=8000", set()),
    ],
)
def test_a_fingerprint_is_of_the_code_that_a_trial_reaches(tmp_path, file, old, new, changed):
    library = shutil.copytree(LIBRARY, tmp_path / "lib")
    (library / "fractal_trial.py").write_text(
        "from lib.layers import FractalBlock\n\ndef trial(seed):\n    FractalBlock\n",
        encoding="utf-8",
    )
    before = codes(library)
    source = (library / file).read_text(encoding="utf-8")
    assert old in source
    (library / file).write_text(source.replace(old, new), encoding="utf-8")
    _digest.cache_clear()
    after = codes(library)
    assert {name for name in TRIALS if before[name] != after[name]} == changed


def test_a_trial_whose_source_is_not_found_has_no_fingerprint():
    assert len(toy().code) == 12
    assert small("made", partial(print)).code == "unknown"
