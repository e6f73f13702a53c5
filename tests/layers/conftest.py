"""What the tests of layers share."""

import pytest
import torch


@pytest.fixture
def force(monkeypatch):
    """Decide on the gates, and on which path is lucky, draw by draw."""

    def force_draws(gates, lucky=()):
        gates, lucky = iter(gates), iter(lucky)

        def given_gates(x, keep_prob, shape):
            gate = torch.as_tensor(next(gates), dtype=x.dtype)
            return gate.view(-1, *[1] * (len(shape) - 1)).expand(shape) if shape else gate

        for module in ("depth", "fractal", "join"):
            monkeypatch.setattr(f"lib.layers.{module}.keep_mask", given_gates)
        monkeypatch.setattr(torch, "randint", lambda *args, **_: torch.full(args[-1], next(lucky)))

    return force_draws
