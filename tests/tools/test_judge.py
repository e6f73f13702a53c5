"""Submissions that attack: the checks run here, the student's functions in a process of their own.

One small exercise, `double`, whose check draws, changes nothing and calls back.
"""

import sys
from types import SimpleNamespace

import nbformat
import numpy as np
import pytest
import torch
from judge import Ended, Student, box, prepare, verdict
from repository import EXERCISES, ROOT, grading, is_function
from student import pack, unpack
from submissions import Assignment, is_given, is_test
from torch import nn

RIGHT = "def double(x, rng, add):\n    return add(x, x * (rng.random(x.shape) < 2))"
NOT_RIGHT = "def double(x, rng, add):\n    "


@pytest.fixture(scope="module")
def inside(tmp_path_factory):
    folder = tmp_path_factory.mktemp("inside")
    prepare(folder, ROOT)
    return folder


@pytest.fixture
def student(inside):
    """A process that is not locked in: what it may reach is tested with the course."""
    with Student([sys.executable], inside, 3, ["numpy"]) as student:
        yield student


@pytest.fixture(scope="module")
def torch_student(inside):
    with Student([sys.executable], inside, 30, ["torch"]) as student:
        student.run("import torch\nfrom torch import nn\nimport torch.nn.functional as F")
        yield student


def check_double(function):
    """Raise an AssertionError unless a function doubles."""
    rng = np.random.default_rng(0)
    for x in (np.arange(3.0), np.ones((2, 2))):
        given, before = x.copy(), rng.bit_generator.state
        y = function(given, rng, np.add)
        assert isinstance(y, np.ndarray), f"an array, not {type(y).__name__}"
        assert np.array_equal(y, 2 * x), "twice x"
        assert np.array_equal(given, x), "x is changed"
        assert rng.bit_generator.state != before, "rng is not used"
    print("double: right.")


def judged(student, *cells):
    """The last output of the check after these cells: what it printed, or its error."""
    for cell in cells:
        student.run(cell)
    given = {"check": SimpleNamespace(double=check_double)}
    (output,) = verdict("check.double(double)", {"double"}, given, student)
    return output.text if output.output_type == "stream" else f"{output.ename}: {output.evalue}"


def test_a_right_answer_passes(student):
    assert judged(student, RIGHT) == "double: right.\n"


@pytest.mark.parametrize(
    ("body", "told"),
    [
        ("return x", "AssertionError: twice x"),
        ("x *= 2; rng.random(); return x.copy()", "AssertionError: x is changed"),
        ("return 2 * x", "AssertionError: rng is not used"),
        ("return [1, 2]", "AssertionError: an array, not list"),
        ("return object()", "AssertionError: an array, not object"),
        ("return np.array([double])", "AssertionError: an array, not ndarray"),
        ("raise KeyError('k')", "KeyError: 'k'"),
        ("return add(x, 1, 2, 3)", "ValueError: "),
    ],
)
def test_a_wrong_answer_is_told_what_it_did(student, body, told):
    found = judged(student, "import numpy as np", f"{NOT_RIGHT}{body}")
    assert found.replace('"', "").startswith(told)


@pytest.mark.parametrize(
    "attack",
    [
        "class double:\n    __class__ = property(lambda self: np.ndarray)",
        f"{NOT_RIGHT}import os; os._exit(0)",
        f"{NOT_RIGHT}raise SystemExit",
        f"{NOT_RIGHT}import ctypes; ctypes.string_at(0)",
        "class Yes:\n    def __getattr__(self, name): return self\n"
        "    def __call__(self, *anything): return self\n    def __bool__(self): return True\n"
        "    def __eq__(self, other): return True\n"
        "double = Yes()",
        "import builtins, sys\nbuiltins.isinstance = lambda *a: True\n"
        f"sys.modules['lib.checks'] = None\n{NOT_RIGHT}return x",
        "import gc, io, os\n"
        "for each in gc.get_objects():\n"
        "    if type(each).__name__ == 'Answers':\n"
        '        each.writer.write(\'{"value": true, "outputs": []}\\n\' * 9)\n'
        "        each.writer.flush()",
        "import gc\n"
        "for each in gc.get_objects():\n"
        "    if type(each).__name__ == 'Answers':\n"
        "        each.send = lambda message: each.writer.write('{' * 10**5 + '\\n')\n"
        f"{NOT_RIGHT}return x",
        "import gc, pickle, base64\n"
        "class Evil:\n    def __reduce__(self): return (exec, ('raise SystemExit',))\n"
        "text = base64.b64encode(pickle.dumps(Evil())).decode()\n"
        "for each in gc.get_objects():\n"
        "    if type(each).__name__ == 'Answers':\n"
        "        each.refer = lambda value: {'pickle': text}\n"
        "double = object()",
    ],
    ids=[
        "another-class", "exit", "system-exit", "segfault", "yes-to-all", "builtins",
        "speaks-for-us", "nonsense", "pickle",
    ],
)  # fmt: skip
def test_an_attack_has_no_points(student, attack):
    student.run("import numpy as np")
    assert not judged(student, attack).startswith("double: right")


def test_what_follows_an_end_still_counts(student):
    outputs = student.run("import os; os._exit(3)")
    assert outputs[0].evalue == "the notebook ended its process (code 3)"
    assert judged(student, f"{NOT_RIGHT}import os; os._exit(0)").startswith("Ended")
    assert judged(student, "def double(x, rng, add): pass").startswith("Ended")  # not tried again
    triple = RIGHT.replace("double", "triple")
    student.run(triple)
    given = {"check": SimpleNamespace(triple=check_double)}
    (output,) = verdict("check.triple(triple)", {"triple"}, given, student)
    assert output.text == "double: right.\n"


def test_one_that_always_ends_is_given_up(student):
    for _ in range(8):
        outputs = student.run("import os; os._exit(3)")
    assert outputs[0].evalue.startswith("not run: the notebook was stopped 5 times")


def test_output_is_kept_up_to_a_limit(student):
    (output,) = student.run("for _ in range(1000): print('x' * 10**5)")
    assert 100_000 < len(output.text) < 101_000
    assert output.text.endswith("[cut: too much output]")
    assert student.run("import os\nfor _ in range(100): os.write(1, b'x' * 10**5)") == []


def test_outputs_are_texts_and_pictures(student):
    source = (
        "from IPython.display import HTML, Image, display\n"
        "display(HTML('<script>alert(1)</script>'))\n"
        "display({'image/png': '\"><script>', 'text/plain': 'plain'}, raw=True)\n"
        "display(Image(b'\\x89PNG', format='png'))"
    )
    shown = [output.data for output in student.run(source)]
    assert [sorted(data) for data in shown] == [
        ["text/plain"], ["text/plain"], ["image/png", "text/plain"],
    ]  # fmt: skip
    assert "script" not in str(shown)


@pytest.mark.parametrize(
    "value",
    [
        None, True, 3, 2.5, "text", [1, [2.0]], (1, (2,)), {"a": 1, 2: (3,)}, {1, 2}, 1 + 2j,
        10**30, np.float32(1.5), np.int64(3), np.bool_(True), np.arange(6).reshape(2, 3),
        np.zeros((0, 3)), np.array(2.0), np.ones((2, 3)).T,
    ],
    ids=repr,
)  # fmt: skip
def test_plain_values_come_back_as_they_were(value):
    back = unpack(pack(value, None), None)
    assert type(back) is type(value)
    assert np.array_equal(back, value) if hasattr(value, "dtype") else back == value


def test_generators_and_tensors_come_back_as_they_were():
    rng = np.random.default_rng(3)
    assert unpack(pack(rng, None), None).random() == rng.random()
    tensor = torch.ones(2, 3, requires_grad=True)
    back = unpack(pack(tensor, None), None)
    assert torch.equal(back, tensor)
    assert back.requires_grad


@pytest.mark.parametrize("dtype", ["|O", "<O8", "<U5", "<M8", "[('a', '<f8')]"])
def test_only_arrays_of_numbers_are_read(dtype):
    with pytest.raises(ValueError, match="no array of"):
        unpack({"array": [dtype, [1], "AAAAAAAAAAA="]}, None)


NET = """
class Net(nn.Module):
    def __init__(self):
        super().__init__()
        self.hidden, self.out, self.keep_prob = nn.Linear(3, 40), nn.Linear(40, 2), 0.5

    def forward(self, x):
        return self.out(F.dropout(torch.relu(self.hidden(x)), 0.5, self.training))
"""


def test_a_students_network_has_modes_weights_chance_and_gradients(torch_student):
    torch_student.run(NET)
    net, x = torch_student.find("Net")(), torch.ones(5, 3)
    assert (type(net).__name__, net.keep_prob) == ("Net", 0.5)
    assert isinstance(net.hidden, nn.Linear)
    torch.manual_seed(0)
    first, second = net(x), net(x)
    torch.manual_seed(0)
    assert torch.equal(net(x), first)
    assert not torch.equal(first, second)
    with torch.no_grad():
        net.hidden.bias += 5
    expected = net.out(torch.relu(net.hidden(x)))
    assert torch.allclose(net.eval()(x), expected)
    found = torch.autograd.grad(net(x).sum(), net.hidden.weight)
    assert torch.allclose(*found, *torch.autograd.grad(expected.sum(), net.hidden.weight))


def test_torchs_own_modules_are_built_here_and_stay_the_same(torch_student):
    torch_student.run("block = nn.Sequential(nn.Dropout2d(0.3), nn.Conv2d(2, 3, 3, padding=1))")
    torch_student.run("def make(): return block")
    block = torch_student.find("make")()
    assert [type(layer) for layer in block] == [nn.Dropout2d, nn.Conv2d]
    assert block[0].p == 0.3
    assert block(torch.ones(4, 2, 5, 5)).shape == (4, 3, 5, 5)
    assert torch_student.find("make")() is block


def test_a_network_of_ours_changes_as_the_student_changes_it(torch_student):
    torch_student.run("def freeze(net):\n    net[1].eval()\n    net[0].bias.data.fill_(7)")
    net = nn.Sequential(nn.Linear(2, 2), nn.Dropout())
    torch_student.find("freeze")(net)
    assert [module.training for module in net.modules()] == [True, True, False]
    assert (net[0].bias == 7).all()


def test_a_process_that_cannot_start_says_why(inside):
    with (
        pytest.raises(Ended, match="NoSuchThing"),
        Student([sys.executable, "-c", "raise RuntimeError('NoSuchThing')"], inside, 3, []),
    ):
        pass


def test_locked_in_there_is_no_more_than_python(inside):
    try:
        with Student(box(inside), inside, 30, []) as student:
            source = "import os; print(os.getuid(), sorted(os.listdir('/')), os.listdir('/tmp'))"
            (output,) = student.run(source)
            (refused,) = student.run("open(os.__file__, 'a')")
            (silent,) = student.run("import socket; socket.create_connection(('1.1.1.1', 53), 1)")
    except (OSError, Ended) as error:
        pytest.skip(f"this machine cannot lock a process in: {error}")
    for name in ("etc", "home", "work"):
        assert f"'{name}'" not in output.text or name in str(inside) + sys.prefix
    assert refused.ename == "OSError"
    assert silent.ename == "OSError"


@pytest.mark.slow
@pytest.mark.parametrize("path", EXERCISES, ids=lambda path: path.parent.name)
def test_the_solutions_of_each_part_pass_in_the_judges_process(path, inside):
    release = ROOT / "exercises" / f"{path.parent.name}.ipynb"
    assignment = Assignment(path, release)
    solved = nbformat.read(path, as_version=4).cells
    functions = {grading(cell)["grade_id"]: cell.source for cell in filter(is_function, solved)}
    told = []
    with Student([sys.executable], inside, 60, assignment.modules()) as student:
        student.run(assignment.imports)
        given = assignment.given()
        for name, cell in assignment.cells.items():
            if name in functions:
                student.run(functions[name])
            elif is_given(cell):
                student.run(cell.source)
            elif is_test(cell):
                outputs = verdict(assignment.code[name], assignment.defines, given, student)
                told += [f"{name}: {each.evalue}" for each in outputs if "evalue" in each]
    assert not told
