"""Run a student's cells, and answer calls of the student's functions.

    python student.py SECONDS MODULE...

This is the side that is locked in. It is told what to do in lines of JSON on its standard input,
and answers in lines of JSON on its standard output. Whoever asks trusts nothing of what comes back:
`pack` and `unpack` know plain data, arrays and tensors, and no code.
"""

import base64
import contextlib
import importlib
import io
import json
import numbers
import os
import pickle
import re
import resource
import sys

import numpy as np

OUTPUT = 100_000  # characters of one cell's output that are kept
PICTURES = 5_000_000  # and characters of its pictures
MEMORY = 4 * 2**30
SAFE_DTYPE = re.compile(r"[<>|=][biufc]\d{1,2}")


def pack(value, refer):
    """Turn a value into what JSON can hold; `refer` describes what is no plain data."""
    torch = sys.modules.get("torch")
    if value is None or type(value) in (bool, int, float, str):
        return value
    if isinstance(value, list):
        return [pack(item, refer) for item in value]
    if isinstance(value, np.ndarray | np.generic) and value.dtype.kind in "biufc":
        raw = base64.b64encode(np.ascontiguousarray(value).tobytes()).decode()
        kind = "array" if isinstance(value, np.ndarray) else "scalar"
        return {kind: [value.dtype.str, list(value.shape), raw]}
    if torch and isinstance(value, torch.Tensor):
        array = value.detach().cpu().resolve_conj().resolve_neg().numpy()
        return {"tensor": [pack(array, refer), value.requires_grad]}
    if isinstance(value, tuple):
        return {"tuple": [pack(item, refer) for item in value]}
    if isinstance(value, set | frozenset):
        return {"set": [pack(item, refer) for item in value]}
    if isinstance(value, dict):
        return {"dict": [[pack(key, refer), pack(item, refer)] for key, item in value.items()]}
    if isinstance(value, numbers.Real):
        return float(value)
    if isinstance(value, complex):
        return {"complex": [value.real, value.imag]}
    if isinstance(value, np.random.Generator):
        return {"rng": pack(value.bit_generator.state, refer)}
    return refer(value)


def unpack(data, resolve):
    """Turn back what `pack` made; `resolve` finds what was referred to."""
    if not isinstance(data, dict):
        return [unpack(item, resolve) for item in data] if isinstance(data, list) else data
    ((kind, content),) = data.items()
    if kind in ("array", "scalar"):
        dtype, shape, raw = content
        if not SAFE_DTYPE.fullmatch(dtype):
            raise ValueError(f"no array of {dtype!r}")
        array = np.frombuffer(base64.b64decode(raw), dtype).reshape(shape).copy()
        return array if kind == "array" else array[()]
    if kind == "tensor":
        import torch

        return torch.from_numpy(unpack(content[0], resolve)).requires_grad_(bool(content[1]))
    if kind == "tuple":
        return tuple(unpack(item, resolve) for item in content)
    if kind == "set":
        return {unpack(item, resolve) for item in content}
    if kind == "dict":
        return {unpack(key, resolve): unpack(item, resolve) for key, item in content}
    if kind == "complex":
        return complex(*map(float, content))
    if kind == "rng":
        state = unpack(content, resolve)
        if state["bit_generator"] not in ("PCG64", "PCG64DXSM", "MT19937", "Philox", "SFC64"):
            raise ValueError("no such generator")
        generator = np.random.Generator(getattr(np.random, state["bit_generator"])())
        generator.bit_generator.state = state
        return generator
    return resolve(kind, content)


def network_state(network):
    """What of a torch module can change: the modes of its parts, and its tensors."""
    modes = [module.training for module in network.modules()]
    return modes, list(network.state_dict().values())


def set_network_state(network, state):
    """Set what `network_state` noted."""
    import torch

    for module, mode in zip(network.modules(), state[0], strict=True):
        module.training = bool(mode)
    with torch.no_grad():
        for tensor, value in zip(network.state_dict().values(), state[1], strict=True):
            tensor.copy_(value)


class Kept(io.TextIOBase):
    """Keeps the beginning of what is written, and drops the rest."""

    def __init__(self):
        self.parts, self.left = [], OUTPUT

    def write(self, text):
        """Keep what there is room for."""
        if self.left > 0:
            self.parts.append(text[: self.left])
            self.left -= len(text)
        return len(text)

    def text(self):
        """What was kept."""
        return "".join(self.parts) + ("\n[cut: too much output]" if self.left < 0 else "")


class Answers:
    """The loop that runs cells and answers calls."""

    def __init__(self, seconds):
        from IPython.core.interactiveshell import InteractiveShell
        from traitlets.config import Config

        self.seconds, self.objects, self.error = seconds, [], None
        self.reader = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self.writer = os.fdopen(os.dup(1), "w", encoding="utf-8")
        nowhere = os.open(os.devnull, os.O_RDWR)
        for number in (0, 1, 2):
            os.dup2(nowhere, number)
        settings = Config()
        settings.HistoryManager.enabled = False
        self.shell = InteractiveShell.instance(config=settings)
        self.shell._showtraceback = self.note_error
        self.names = self.shell.user_ns

    def note_error(self, kind, error, lines):
        """Keep an error that a cell ended with."""
        text = "\n".join(lines)[-OUTPUT:]
        self.error = {"output_type": "error", "ename": kind.__name__, "evalue": str(error)[:OUTPUT]}
        self.error["traceback"] = text.split("\n")

    def serve(self):
        """Do what is asked until nothing is."""
        self.send({"ready": True})
        for line in self.reader:
            used = resource.getrusage(resource.RUSAGE_SELF)
            limit = int(used.ru_utime + used.ru_stime) + 1 + self.seconds
            resource.setrlimit(resource.RLIMIT_CPU, (limit, resource.RLIM_INFINITY))
            request = json.loads(line)
            action = getattr(self, request.pop("do"))
            try:
                out, err = self.streams = Kept(), Kept()
                with contextlib.redirect_stdout(out), contextlib.redirect_stderr(err):
                    reply = action(**request)
            except BaseException as error:
                kinds = [kind.__name__ for kind in type(error).__mro__]
                reply = {"raised": [kinds, str(error)[:OUTPUT]]}
            self.send(reply)

    def send(self, message):
        self.writer.write(json.dumps(message) + "\n")
        self.writer.flush()

    def run(self, source):
        """Run a cell and return its outputs, as a notebook holds them."""
        from IPython.utils.capture import capture_output

        self.error = None
        with capture_output(stdout=False, stderr=False) as captured:
            self.shell.run_cell(source, store_history=True)
        outputs = [
            {"output_type": "stream", "name": name, "text": stream.text()}
            for name, stream in zip(("stdout", "stderr"), self.streams, strict=True)
            if stream.parts
        ]
        room = {"image/png": PICTURES, "text/plain": OUTPUT}
        for shown in captured.outputs:
            data = {}
            for kind, text in shown.data.items():
                if kind not in room:
                    continue
                if isinstance(text, bytes):
                    text = base64.b64encode(text).decode()
                room[kind] -= len(text)
                if room[kind] >= 0:
                    data[kind] = text
            if data:
                outputs.append({"output_type": "display_data", "data": data, "metadata": {}})
        return {"outputs": outputs + ([self.error] if self.error else [])}

    def find(self, name):
        """Look up a name that a student's cell has defined."""
        if name not in self.names:
            raise NameError(f"name {name!r} is not defined")
        return {"value": pack(self.names[name], self.refer)}

    def call(self, target, arguments, keywords, dice, state=None):
        """Call something that was referred to; say as well what it did to its arguments."""
        function = self.objects[target]
        if state is not None:
            set_network_state(function, unpack(state, self.resolve))
        torch = sys.modules.get("torch")
        if torch and dice:
            torch.set_rng_state(unpack(dice, self.resolve))
        values = unpack(arguments, self.resolve)
        result = {"value": None}
        try:
            value = function(*values, **unpack(keywords, self.resolve))
            result["value"] = pack(value, self.refer)
        except BaseException as error:
            kinds = [kind.__name__ for kind in type(error).__mro__]
            result = {"raised": [kinds, str(error)[:OUTPUT]]}
        if torch and dice:
            result["dice"] = pack(torch.get_rng_state(), self.refer)
            result["gradients"] = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
        if state is not None:
            result["state"] = pack(network_state(function), self.refer)
        after = [pack(value, self.after) for value in values]
        pairs = zip(arguments, after, strict=True)
        result["arguments"] = [None if old == new else new for old, new in pairs]
        return result

    def refer(self, value):
        """Describe what is no plain data: modules and functions can be called later."""
        torch = sys.modules.get("torch")
        name = str(getattr(value, "__name__", type(value).__name__))
        if torch and isinstance(value, torch.nn.Module):
            return {"module": self.described(value)}
        if not callable(value):
            return {"opaque": type(value).__name__}
        self.objects.append(value)
        return {"function": [len(self.objects) - 1, name]}

    def described(self, module):
        """Describe a torch module: its kind, its settings, its tensors, its parts."""
        self.objects.append(module)
        number, plain = len(self.objects) - 1, {}
        import torch

        for key in vars(module).keys() - vars(torch.nn.Module()).keys() | {"training"}:
            with contextlib.suppress(TypeError):
                plain[key] = pack(getattr(module, key), None)
        tensors = {
            kind: {name: pack(tensor, self.refer) for name, tensor in found if tensor is not None}
            for kind, found in (
                ("parameters", module._parameters.items()),
                ("buffers", module._buffers.items()),
            )
        }
        parts = {name: self.described(part) for name, part in module.named_children()}
        kind = type(module)
        if kind.__module__ == "__main__":  # its parts then work where the check can watch them
            for name, part in module.named_children():
                part.forward = Elsewhere(self, {"part": [number, name]})
        return {
            "number": number,
            "kind": [kind.__module__, kind.__qualname__],
            "plain": plain,
            **tensors,
            "parts": parts,
        }

    def after(self, value):
        """Describe an argument after the call."""
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            return {"state": pack(network_state(value), self.refer)}
        return {"opaque": type(value).__name__}

    def resolve(self, kind, content):
        """Find what the other side refers to: its functions, and modules it hands over."""
        if kind == "pickle":  # from the trusted side to this one, and never back
            return pickle.loads(base64.b64decode(content))
        if kind == "mine":
            return self.objects[content]
        return Elsewhere(self, {kind: content})


class Elsewhere:
    """A function of the other side."""

    def __init__(self, answers, target):
        self.answers, self.target = answers, target

    def __call__(self, *arguments):
        packed = [pack(value, self.answers.refer) for value in arguments]
        self.answers.send({"ask": self.target, "arguments": packed})
        reply = json.loads(self.answers.reader.readline())
        if "raised" in reply:
            raise ValueError(reply["raised"])
        return unpack(reply["value"], self.answers.resolve)


def main():
    """Set the limits, import what the exercises need, and serve."""
    seconds, modules = int(sys.argv[1]), sys.argv[2:]
    os.chdir("/tmp")
    resource.setrlimit(resource.RLIMIT_CORE, (0, 0))
    resource.setrlimit(resource.RLIMIT_FSIZE, (2**26, 2**26))
    for name in modules:
        with contextlib.suppress(ImportError):
            importlib.import_module(name)
    resource.setrlimit(resource.RLIMIT_DATA, (MEMORY, MEMORY))
    Answers(seconds).serve()


if __name__ == "__main__":
    main()
