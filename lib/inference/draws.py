"""Random numbers: who draws some, and generators put back to where they were."""

import random
import threading
from contextlib import contextmanager

import numpy as np
import torch

# Held by who puts generators back, and by who draws samples: with several threads, one would get
# what another has got already.
LOCK = threading.RLock()

NUMPYS = np.random.get_bit_generator()  # of numpy.random.rand and the like


def torch_state():
    """Where torch's generators stand."""
    on_cards = torch.cuda.get_rng_state_all() if torch.cuda.is_initialized() else ()
    return [torch.get_rng_state(), *on_cards]


def set_torch_state(state):
    """Put torch's generators to where they stood."""
    torch.set_rng_state(state[0])
    if len(state) > 1:
        torch.cuda.set_rng_state_all(state[1:])


def same_state(state, other):
    """Whether nothing was drawn in between."""
    return all(map(np.array_equal, state, other))


@contextmanager
def generators_put_back():
    """Put the generators of torch, NumPy and Python back at the end."""
    with LOCK:
        of_torch, of_python, of_numpy = torch_state(), random.getstate(), NUMPYS.state
        try:
            yield
        finally:
            set_torch_state(of_torch)
            random.setstate(of_python)
            NUMPYS.state = of_numpy


def drawing(model, args, kwargs):
    """Run a model; list its modules that draw numbers from torch, themselves and not by a part.

    The second value is whether anything drew numbers from NumPy or Python.
    """
    found, running, state = [], [model], torch_state()
    others = _other_states()

    def look():
        nonlocal state
        before, state = state, torch_state()
        if not same_state(before, state) and running[-1] not in found:
            found.append(running[-1])

    def enter(module, _):
        look()
        running.append(module)

    def leave(*_):
        look()
        running.pop()

    for module in model.modules():
        if isinstance(module, torch.jit.ScriptModule):
            continue  # it takes no hooks: what it draws counts for the module around it
        module.register_forward_pre_hook(enter)
        module.register_forward_hook(leave)
    model(*args, **kwargs)
    look()
    return found, others != _other_states()


def _other_states():
    of_numpy = NUMPYS.state["state"]
    return random.getstate(), of_numpy["key"].tobytes(), of_numpy["pos"]
