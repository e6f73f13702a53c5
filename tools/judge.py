"""Decide what a submission is worth: the checks run here, the student's functions elsewhere.

`Student` is a process of its own, locked in, that runs the cells of a submission (`student.py`).
This process never runs them. It imports the checks itself, hands them stand-ins of the student's
functions, and carries arguments there and values back, as plain data. So nothing that a student
redefines, patches or transforms is ever where the points are decided.
"""

import ast
import base64
import builtins
import contextlib
import io
import json
import os
import pickle
import re
import shutil
import signal
import subprocess
import sys
import threading
import traceback
import warnings
from pathlib import Path

from nbformat.v4 import new_output
from student import changes, make_changes, network_state, pack, set_network_state, unpack

HERE = Path(__file__).resolve().parent
MESSAGE = 100_000_000  # bytes of one answer that are read
RESTARTS = 5
START = 600  # seconds, by the clock
QUESTION = "arguments", "keywords"
QUIET = {
    "OMP_NUM_THREADS": "1",
    "TQDM_DISABLE": "1",
    "MPLBACKEND": "module://matplotlib_inline.backend_inline",
    "PYTHONDONTWRITEBYTECODE": "1",
}
# In the place of lib.checks, whose tables hold right answers. Here no check decides anything.
NO_CHECKS = """class _Nothing:
    def __getattr__(self, name):
        return lambda *arguments, **keywords: None


def __getattr__(name):
    if name.startswith("__"):
        raise AttributeError(name)
    return _Nothing()
"""


class Ended(Exception):
    """The student's process has ended, or no longer speaks the language."""


def prepare(folder, root):
    """Put into a folder all that a submission may see of the book.

    Parameters
    ----------
    folder : pathlib.Path
        Empty.
    root : pathlib.Path
        The clone of the book.
    """
    leave = shutil.ignore_patterns("checks", "__pycache__")
    shutil.copytree(root / "lib", folder / "lib", ignore=leave)
    (folder / "lib" / "checks").mkdir()
    (folder / "lib" / "checks" / "__init__.py").write_text(NO_CHECKS, encoding="utf-8")
    shutil.copy(HERE / "student.py", folder)
    (folder / "empty").mkdir()


def box(folder):
    """The command that runs Python on this Linux machine, locked in: by `unshare` and `chroot`."""
    spaces = "--user --map-root-user --mount --net --pid --ipc --uts --fork --kill-child"
    system = [each for each in ("/usr", "/lib", "/lib64", "/bin") if os.path.exists(each)]
    inside = dict.fromkeys([*system, sys.base_prefix, sys.prefix, str(folder)])
    quiet = [f"{key}={value}" for key, value in QUIET.items()]
    return [
        *("unshare", *spaces.split(), "sh", str(HERE / "box.sh"), str(folder / "empty")),
        *(*inside, "--", "env", "-i", "PATH=/usr/bin:/bin", "HOME=/tmp", *quiet, sys.executable),
    ]


class Student:
    """The process that runs a submission's cells, and answers calls of its functions.

    Parameters
    ----------
    command : sequence of str
        What runs Python, locked in.
    folder : pathlib.Path
        As `prepare` left it.
    seconds : int
        Of processor time, for each cell and each call. Ten times as long by the clock.
    modules : sequence of str
        Imported beforehand.
    """

    def __init__(self, command, folder, seconds, modules):
        self.command = [*command, str(folder / "student.py"), str(seconds), *modules]
        self.seconds, self.cells, self.deaths, self.deadly = seconds, [], 0, {}

    def __enter__(self):
        self.start()
        return self

    def __exit__(self, *_):
        self.close()

    def start(self):
        """Start the process."""
        self.process = subprocess.Popen(
            self.command,
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            env=os.environ | QUIET,
            start_new_session=True,
        )
        self.lent, self.networks, self.ended, self.ready = [], {}, None, False
        answer = self.guarded(self.receive, limit=START)
        self.ready = answer.get("ready") is True

    def stop(self):
        """End the process and all that it started."""
        if self.process.returncode is None:
            with contextlib.suppress(ProcessLookupError, PermissionError):
                os.killpg(self.process.pid, signal.SIGKILL)

    def close(self):
        """End the process, and give back what it held."""
        self.stop()
        for stream in (self.process.stdin, self.process.stdout, self.process.stderr):
            with contextlib.suppress(OSError):
                stream.close()
        self.process.wait()

    def guarded(self, action, *arguments, limit=None):
        """Talk to the process within its time; whatever goes wrong is its end."""
        watch = threading.Timer(limit or 10 * self.seconds, self.stop)
        watch.start()
        try:
            return action(*arguments)
        except Exception as error:
            self.ended = str(error) if isinstance(error, Ended) else self.last_words()
            self.stop()
            raise Ended(self.ended) from None
        finally:
            watch.cancel()

    def receive(self):
        """Read one answer."""
        answer = json.loads(self.process.stdout.readline(MESSAGE) or "null")
        if not isinstance(answer, dict):
            raise Ended(self.last_words())
        return answer

    def last_words(self):
        """Why the process ended, as far as one can tell."""
        try:
            code = self.process.wait(timeout=5)
        except subprocess.TimeoutExpired:
            return "its answer was no answer, or too long"
        if code in (-signal.SIGXCPU, 128 + signal.SIGXCPU):
            return f"stopped after {self.seconds} s of processor time"
        if not self.ready:
            return self.process.stderr.read(2000).decode(errors="replace").strip()
        return f"the notebook ended its process (code {code})"

    def ask(self, **request):
        """Send a request, lend the functions that it wants meanwhile, return the answer."""
        if self.ended:
            raise Ended(self.ended)
        return self.guarded(self.exchange, request)

    def exchange(self, request):
        self.send(request)
        answer = self.receive()
        while "ask" in answer:
            self.send(self.lend(answer))
            answer = self.receive()
        return answer

    def send(self, message):
        self.process.stdin.write(json.dumps(message).encode() + b"\n")
        self.process.stdin.flush()

    def lend(self, question):
        """Call a function of ours for the student."""
        try:
            given = question["arguments"]
            values = unpack(given, self.resolve)
            value = self.lent[question["ask"]](
                *values, **unpack(question["keywords"], self.resolve)
            )
            return {"value": pack(value, self.refer), "arguments": changes(values, given)}
        except Exception as error:
            return {"raised": str(error)}

    def revive(self):
        """Begin again after an end, with the cells that went well."""
        if not self.ended:
            return
        self.deaths += 1
        if self.deaths > RESTARTS:
            raise Ended(f"not run: the notebook was stopped {RESTARTS} times before")
        self.close()
        self.start()
        for source in self.cells:
            self.ask(do="run", source=source)

    def run(self, source):
        """Run a cell; return its outputs. One that ends the process is left out from then on."""
        try:
            self.revive()
            outputs = self.guarded(outputs_of, self.ask(do="run", source=source))
        except Ended as end:
            return [failure("Stopped", str(end))]
        self.cells.append(source)
        return outputs

    def find(self, name):
        """What a name stands for there."""
        self.revive()
        answer = self.ask(do="find", name=name)
        if "raised" in answer:
            raise NameError(f"the notebook defines no {name}")
        return unpack(answer["value"], self.resolve)

    def call(self, target, arguments, keywords, networks=(), learns=None):
        """Call a function there, with these arguments, which change here as they changed there.

        So do the networks of these numbers, which it may use: itself, or what came beside it.
        """
        torch = sys.modules.get("torch")
        request = {
            "do": "call",
            "target": target,
            "arguments": pack(list(arguments), self.refer),
            "keywords": pack(keywords, self.refer),
            "dice": pack(torch.get_rng_state(), self.refer) if torch else None,
            "learns": bool(torch and torch.is_grad_enabled()) if learns is None else learns,
            "listens": bool(torch and torch.nn.modules.module._global_forward_hooks),
            "networks": [
                [number, pack(network_state(self.networks[number]), self.refer)]
                for number in networks
            ],
        }
        answer = self.ask(**request)
        if torch and "dice" in answer:
            torch.set_rng_state(unpack(answer["dice"], self.resolve))
            if learns is None:
                torch.set_grad_enabled(bool(answer["learns"]))
        for number, state in zip(networks, answer["networks"], strict=True):
            set_network_state(self.networks[number], unpack(state, self.resolve))
        if target in networks:
            self.networks[target].graph = answer.get("graph")
        make_changes(arguments, answer["arguments"], self.resolve)
        if "raised" in answer:
            raise exception(*answer["raised"])
        replay(unpack(answer["heard"], self.resolve))
        value = unpack(answer["value"], self.resolve)
        returned = value if isinstance(value, tuple | list) else ()
        numbers = [n for n, each in self.networks.items() if any(each is one for one in returned)]
        for each in returned:
            if isinstance(each, Function):
                each.networks = numbers
        return value

    def gradients(self, graph, gradient):
        """Carry a gradient back through a call of a network there."""
        answer = self.ask(do="gradients", graph=graph, gradient=pack(gradient, self.refer))
        if "raised" in answer:
            raise exception(*answer["raised"])
        return unpack(answer["value"], self.resolve)

    def refer(self, value):
        """Describe to the student's side what is no plain data."""
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            return {"pickle": base64.b64encode(pickle.dumps(value)).decode()}
        if isinstance(value, Function):
            return {"mine": value.target}
        self.lent.append(value)
        return {"function": len(self.lent) - 1}

    def resolve(self, kind, content):
        """Make a stand-in of what the student's side describes."""
        if kind == "function":
            return Function(self, *content)
        if kind == "module":
            return self.network(content)
        return type(content, (Opaque,), {})()

    def network(self, described):
        """Build a torch module as described: one of torch's own, or a stand-in of the student's."""
        import torch

        if described["number"] in self.networks:
            return self.networks[described["number"]]
        if described["keras"]:
            with contextlib.suppress(Exception):  # what can't be built is a stand-in
                model = self.networks[described["number"]] = keras_model(described["keras"])
                return model
        module, name = described["kind"]
        known = getattr(sys.modules.get(module), name, None) if is_known(module) else None
        is_ours = isinstance(known, type) and issubclass(known, torch.nn.Module)
        kind = known if is_ours else type(name, (stand_in(),), {})
        network = kind.__new__(kind)
        torch.nn.Module.__init__(network)
        for key in described["plain"].keys() - vars(network).keys():
            if not hasattr(kind, key):
                setattr(network, key, unpack(described["plain"][key], None))
        if not is_ours:
            network.student, network.number = self, described["number"]
        network.training = bool(described["plain"]["training"])
        for key, value in described["parameters"].items():
            tensor = unpack(value, self.resolve)
            network.register_parameter(key, torch.nn.Parameter(tensor, tensor.requires_grad))
        for key, value in described["buffers"].items():
            network.register_buffer(key, unpack(value, self.resolve))
        for key, part in described["parts"].items():
            network.add_module(key, self.network(part))
        self.networks[described["number"]] = network
        return network


def replay(passes):
    """Tell who listens here what went through linear layers there."""
    if not passes:
        return
    import torch

    for weights, x, y in passes:
        linear = torch.nn.Linear(*weights.shape[::-1])
        linear.weight = torch.nn.Parameter(weights)
        for hook in [*torch.nn.modules.module._global_forward_hooks.values()]:
            hook(linear, (x,), y)


def keras_model(described):
    """Build a Keras model of Keras's own layers, one behind the other, with plain settings."""
    import keras

    def layers(parts):
        for part in parts:
            kind = getattr(keras.layers, str(part["kind"]), None)
            if part["parts"]:
                yield from layers(part["parts"]["layers"])
            elif kind is not keras.layers.InputLayer:
                if not issubclass(kind, keras.layers.Layer) or kind is keras.layers.Lambda:
                    raise ValueError(f"no layer of Keras's: {part['kind']}")
                yield kind.from_config(part["settings"])

    model = keras.Sequential([keras.Input(described["shape"]), *layers(described["layers"])])
    weights = [unpack(each, None) for part in described["layers"] for each in part["weights"]]
    model.set_weights(weights)
    return model


def is_known(module):
    """Whether modules of this file are built here; all others are called elsewhere."""
    return module.startswith(("torch.nn.modules.", "lib.layers."))


def stand_in():
    """The class of torch modules that are called elsewhere."""
    import torch

    class Elsewhere(torch.autograd.Function):
        @staticmethod
        def forward(ctx, network, learns, n, *tensors):
            value = network.student.call(network.number, tensors[:n], {}, [network.number], learns)
            ctx.network, ctx.graph = network, network.graph
            if isinstance(value, torch.Tensor) and not value.requires_grad:
                ctx.mark_non_differentiable(value)
            return value.detach() if isinstance(value, torch.Tensor) else value

        @staticmethod
        def backward(ctx, gradient):
            return None, None, None, *ctx.network.student.gradients(ctx.graph, gradient)

    class StandIn(torch.nn.Module):
        def forward(self, *arguments):
            learns, n = torch.is_grad_enabled(), len(arguments)
            return Elsewhere.apply(self, learns, n, *arguments, *self.parameters())

    return StandIn


class Function:
    """A stand-in of a student's function."""

    def __init__(self, student, target, name):
        self.student, self.target, self.__name__ = student, int(target), str(name)
        self.networks = []  # numbers of those that were returned with it

    def __call__(self, *arguments, **keywords):
        return self.student.call(self.target, arguments, keywords, self.networks)


class Opaque:
    """Something that a student's function returned, and that no check knows what to do with."""


def exception(kinds, text):
    """The exception that a student's function raised, as far as Python has it."""
    known = [getattr(builtins, kind, None) for kind in kinds]
    known = [kind for kind in known if isinstance(kind, type) and issubclass(kind, Exception)]
    return type(kinds[0], (known[0] if known else Exception,), {"__init__": noted})(text)


def noted(self, text):
    self.args = (text,)


def outputs_of(answer):
    """The outputs of a cell, if they are such."""
    if "raised" in answer:
        return [failure(answer["raised"][0][0], answer["raised"][1])]
    outputs = []
    for output in answer["outputs"]:
        kind = output["output_type"]
        if kind == "stream":
            name = {"stderr": "stderr"}.get(output["name"], "stdout")
            outputs.append(new_output(kind, name=name, text=str(output["text"])))
        elif kind == "error":
            lines = [str(line) for line in output["traceback"]]
            words = {key: str(output[key]) for key in ("ename", "evalue")}
            outputs.append(new_output(kind, **words, traceback=lines))
        else:  # a page shows a picture's letters as they are
            data = {"text/plain": str(output["data"].get("text/plain", ""))}
            if re.fullmatch(
                r"[\w+/=\s]+", picture := output["data"].get("image/png", ""), re.ASCII
            ):
                data["image/png"] = picture
            outputs.append(new_output("display_data", data))
    return outputs


def failure(name, text):
    """The output of a cell that ended with an error."""
    return new_output("error", ename=name, evalue=text, traceback=[f"{name}: {text}"])


def verdict(source, answers, given, student):
    """Run a check or a hidden test, here, on stand-ins of the student's functions.

    Parameters
    ----------
    source : str
        The cell, as the book has it.
    answers : collection of str
        The names that students define.
    given : dict
        What stands beside them: imports and what the exercises provide.
    student : Student

    Returns
    -------
    list of nbformat.NotebookNode
        The outputs: one error, or what a check that passed has printed.
    """
    names, out = dict(given), io.StringIO()
    student.lent.clear()  # what was lent for another exercise
    used = {node.id for node in ast.walk(ast.parse(source)) if isinstance(node, ast.Name)}
    used = sorted(used & set(answers))
    try:
        for name in used:
            if name in student.deadly:  # once is enough
                raise Ended(student.deadly[name])
            names[name] = student.find(name)
        with contextlib.redirect_stdout(out), warnings.catch_warnings(action="ignore"):
            exec(compile(source, "the test", "exec"), names)
        if student.ended:
            raise Ended(student.ended)
    except Exception as error:
        if student.ended:
            student.deadly |= dict.fromkeys(used, student.ended)
        places = [f for f in traceback.extract_tb(error.__traceback__) if f.filename == "the test"]
        line = source.splitlines()[places[-1].lineno - 1].strip() if places else ""
        name, text = type(error).__name__, str(error) or line
        lines = getattr(error, "_render_traceback_", lambda: [f"{name}: {text}"])()
        return [new_output("error", ename=name, evalue=text, traceback=lines)]
    return [new_output("stream", text=out.getvalue())] if out.getvalue() else []
