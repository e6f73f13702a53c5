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
            if not torch.equal(tensor, value):
                tensor.copy_(value)


def change(value, after, resolve):
    """Do to an argument what was done to its copy."""
    torch = sys.modules.get("torch")
    if isinstance(value, np.ndarray):
        value[...] = after
    elif isinstance(value, np.random.Generator):
        value.bit_generator.state = after.bit_generator.state
    elif isinstance(value, list | tuple) and len(value) == len(after):
        for old, new in zip(value, after, strict=True):
            change(old, new, resolve)
    elif isinstance(value, list):
        value[:] = after
    elif torch and isinstance(value, torch.Tensor):
        with torch.no_grad():
            value.copy_(after)
    elif torch and isinstance(value, torch.nn.Module):
        set_network_state(value, unpack(after[1], resolve))


def changes(values, before):
    """Describe arguments after a call, where they differ from what they were."""

    def refer(value):
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            return {"state": pack(network_state(value), refer)}
        return {"opaque": type(value).__name__}

    after = [pack(value, refer) for value in values]
    return [None if new == old else new for new, old in zip(after, before, strict=True)]


def make_changes(values, after, resolve):
    """Do to arguments what `changes` says."""
    for value, new in zip(values, after, strict=True):
        if new is not None:
            change(value, unpack(new, lambda *content: content), resolve)


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

        self.seconds, self.error, self.objects, self.graphs = seconds, None, [], []
        self.reader = os.fdopen(os.dup(0), "r", encoding="utf-8")
        self.writer = os.fdopen(os.dup(1), "w", encoding="utf-8")
        with open(os.devnull, "r+b") as nowhere:
            for number in (0, 1, 2):
                os.dup2(nowhere.fileno(), number)
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
                reply = {"raised": raised(error)}
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

    def call(self, target, arguments, keywords, dice, networks=(), learns=False, listens=False):
        """Call something that was referred to; say as well what it did to its arguments."""
        function, torch = self.objects[target], sys.modules.get("torch")
        for number, state in networks:
            set_network_state(self.objects[number], unpack(state, self.resolve))
        is_network = any(number == target for number, _ in networks)
        if torch and dice:
            torch.set_rng_state(unpack(dice, self.resolve))
            torch.set_grad_enabled(learns)
        values, result = unpack(arguments, self.resolve), {}
        try:
            with heard() if listens else contextlib.nullcontext([]) as passes:
                value = function(*values, **unpack(keywords, self.resolve))
            result["heard"] = pack(passes, None)
            result["value"] = pack(value, self.refer)
            if is_network:
                self.graphs.append((value, [*values, *function.parameters()]))
                result["graph"] = len(self.graphs) - 1
        except BaseException as error:
            result["raised"] = raised(error)
        if torch and dice:
            result["dice"] = pack(torch.get_rng_state(), self.refer)
            result["learns"] = torch.is_grad_enabled()
            torch.set_grad_enabled(True)
        states = [network_state(self.objects[number]) for number, _ in networks]
        result["networks"] = [pack(state, self.refer) for state in states]
        result["arguments"] = changes(values, arguments)
        return result

    def gradients(self, graph, gradient):
        """Carry a gradient back through a call, to its arguments and to the network's weights."""
        import torch

        value, inputs = self.graphs[graph]
        wanted = [each for each in inputs if each.requires_grad]
        gradient = unpack(gradient, self.resolve)
        found = iter(torch.autograd.grad(value, wanted, gradient, True, allow_unused=True))
        found = [next(found) if each.requires_grad else None for each in inputs]
        return {"value": pack(found, self.refer)}

    def refer(self, value):
        """Describe what is no plain data: modules and functions can be called later."""
        torch = sys.modules.get("torch")
        if torch and isinstance(value, torch.nn.Module):
            return {"module": self.described(value)}
        if not callable(value):
            return {"opaque": type(value).__name__}
        name = str(getattr(value, "__name__", type(value).__name__))
        return {"function": [self.numbered(value), name]}

    def numbered(self, value):
        """The number of something that can be called: always the same one."""
        same = (number for number, each in enumerate(self.objects) if each is value)
        number = next(same, len(self.objects))
        self.objects[number:] = self.objects[number:] or [value]
        return number

    def described(self, module):
        """Describe a torch module: its kind, its settings, its tensors, its parts."""
        import torch

        plain = {}
        for key in vars(module).keys() - vars(torch.nn.Module()).keys() | {"training"}:
            with contextlib.suppress(TypeError):  # what is no plain data is left out
                plain[key] = pack(getattr(module, key), None)
        return {
            "number": self.numbered(module),
            "kind": [type(module).__module__, type(module).__qualname__],
            "plain": plain,
            "parameters": packed_tensors(module._parameters),
            "buffers": packed_tensors(module._buffers),
            "parts": {name: self.described(part) for name, part in module.named_children()},
            "keras": keras_layers(module),
        }

    def resolve(self, kind, content):
        """Find what the other side refers to: its functions, and modules it hands over."""
        if kind == "pickle":  # from the trusted side to this one, and never back
            return pickle.loads(base64.b64decode(content))
        if kind == "mine":
            return self.objects[content]
        return Elsewhere(self, content)


class Elsewhere:
    """A function of the other side."""

    def __init__(self, answers, target):
        self.answers, self.target, self.__name__ = answers, target, "the given function"

    def __call__(self, *arguments, **keywords):
        refer, resolve = self.answers.refer, self.answers.resolve
        question = {"ask": self.target, "arguments": pack(list(arguments), refer)}
        self.answers.send(question | {"keywords": pack(keywords, refer)})
        reply = json.loads(self.answers.reader.readline())
        if "raised" in reply:
            raise ValueError(reply["raised"])
        make_changes(arguments, reply["arguments"], resolve)
        return unpack(reply["value"], resolve)


def raised(error):
    """Describe an error: the names of its class and of those above, and its message."""
    return [[kind.__name__ for kind in type(error).__mro__], str(error)[:OUTPUT]]


@contextlib.contextmanager
def heard():
    """Note what goes through linear layers meanwhile: weights, input and output of each pass."""
    import torch

    passes = []

    def listen(module, inputs, output):
        if isinstance(module, torch.nn.Linear):
            passes.append([each.detach().clone() for each in (module.weight, inputs[0], output)])

    handle = torch.nn.modules.module.register_module_forward_hook(listen)
    try:
        yield passes
    finally:
        handle.remove()


def keras_layers(model):
    """Describe the layers of a Keras model by their settings that are plain; None of all else."""
    keras = sys.modules.get("keras")
    if not keras or not isinstance(model, keras.Model):
        return None
    layers = []
    for layer in model.layers:
        settings = layer.get_config().items()
        plain = {key: each for key, each in settings if isinstance(each, str | int | float | tuple)}
        layers.append(
            {
                "kind": type(layer).__name__,
                "settings": plain,
                "parts": keras_layers(layer),
                "weights": [pack(each, None) for each in layer.get_weights()],
            }
        )
    return {"shape": list(model.input_shape[1:]), "layers": layers}


def packed_tensors(tensors):
    """Pack the tensors of a module, by name."""
    return {name: pack(each, None) for name, each in tensors.items() if each is not None}


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
