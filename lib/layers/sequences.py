"""What recurrent layers with dropout share: directions, packed sequences, and their masks."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear
from torch.nn.utils.rnn import PackedSequence

from ..validation import COUNT, PROBABILITY, Flag, OneOf, Optional, check_shapes
from .base import StochasticLayer, check_floating_point
from .draw import keep_mask
from .fused import by_torch, may_be_fused

SETTINGS = {
    "input_size": COUNT,
    "hidden_size": COUNT,
    "keep_prob": PROBABILITY,
    "recurrent_keep_prob": Optional(PROBABILITY),
    "between_keep_prob": Optional(PROBABILITY),
    "masks": OneOf("sequence", "step"),
    "num_layers": COUNT,
    "bias": Flag(),
    "batch_first": Flag(),
    "bidirectional": Flag(),
}


class RecurrentDropout(StochasticLayer):
    """A recurrent layer of torch with masks. A subclass gives its formula, `_step`, for one step.

    Inside, sequences are `rows`, (rows, features): those of the first step, then those of the
    second, and so on, `sizes` of them. The longest sequence comes first, as torch packs them.
    """

    torchs = nn.RNNBase  # the layer whose parameters these are
    parts = ("h",)  # of the state
    without_masks = None  # torch's own function for a layer

    def __init__(
        self,
        input_size,
        hidden_size,
        keep_prob=0.5,
        recurrent_keep_prob=None,
        *,
        between_keep_prob=None,
        masks="sequence",
        recurrent="state",
        num_layers=1,
        bias=True,
        batch_first=False,
        bidirectional=False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        if num_layers == 1 and between_keep_prob is not None:
            raise ValueError(
                "between_keep_prob must be None with one layer, as nothing is between layers, "
                f"got {between_keep_prob}"
            )
        self.input_size, self.hidden_size = input_size, hidden_size
        self.num_layers, self.bidirectional = num_layers, bidirectional
        self.bias, self.batch_first = bias, batch_first
        self.masks, self.recurrent = masks, recurrent
        self.keep_prob = keep_prob
        self.recurrent_keep_prob = keep_prob if recurrent_keep_prob is None else recurrent_keep_prob
        if num_layers > 1 and between_keep_prob is None:
            between_keep_prob = keep_prob
        self.between_keep_prob = between_keep_prob
        of_torch = {"bias": bias, "bidirectional": bidirectional, "device": device, "dtype": dtype}
        plain = self.torchs(input_size, hidden_size, num_layers, **of_torch)
        for name, weight in plain.named_parameters():
            self.register_parameter(name, weight)

    reset_parameters = nn.RNNBase.reset_parameters

    def forward(self, x: Tensor | PackedSequence, state=None):
        packed = x if isinstance(x, PackedSequence) else None
        rows = check_floating_point(x.data if packed else x)
        state = (state,) if isinstance(state, Tensor) else state
        self._check_shapes(rows, packed, state)
        if packed:
            sizes, order = packed.batch_sizes.tolist(), packed.sorted_indices
        else:
            in_time = rows.unsqueeze(1) if rows.dim() == 2 else rows
            if rows.dim() == 3 and self.batch_first:
                in_time = rows.transpose(0, 1)
            sizes, order = [in_time.shape[1]] * in_time.shape[0], None
            rows = in_time.flatten(0, 1)

        per_layer = 2 if self.bidirectional else 1
        shape = (self.num_layers * per_layer, sizes[0], self.hidden_size)
        if state is None:
            state = [rows.new_zeros(shape)] * len(self.parts)
        else:
            state = [_sorted(part.reshape(shape), order) for part in state]
        begins, ends = [state], []
        if self.num_layers > 1:
            begins = zip(*(part.split(per_layer) for part in state), strict=True)
        for layer, begin in enumerate(begins):
            keep_prob = self.between_keep_prob if layer else self.keep_prob
            if self.training and keep_prob < 1:
                mask = self._draw(rows, keep_prob, sizes, order)
                rows = _masked(rows, mask, sizes)
            rows, end = self._layer(layer, rows, sizes, order, begin)
            ends.append(end)
        last = ends[0]
        if self.num_layers > 1:
            last = [torch.cat(part) for part in zip(*ends, strict=True)]

        if packed:
            output = PackedSequence(rows, packed.batch_sizes, order, packed.unsorted_indices)
            last = [_sorted(part, packed.unsorted_indices) for part in last]
        elif x.dim() == 2:
            output, last = rows, [part.squeeze(1) for part in last]
        else:
            output = rows.view(len(sizes), sizes[0], rows.shape[1])
            output = output.transpose(0, 1) if self.batch_first else output
        return output, tuple(last) if len(last) > 1 else last[0]

    def _layer(self, layer, rows, sizes, order, state):
        """A layer in its directions; each part of the state is (directions, batch, hidden)."""
        ways, masks = [], []
        for suffix in ("", "_reverse")[: len(state[0])]:
            kinds = ("weight_ih", "weight_hh", "bias_ih", "bias_hh")
            W, U, *biases = (getattr(self, f"{kind}_l{layer}{suffix}", None) for kind in kinds)
            mask, keep_prob = None, self.recurrent_keep_prob
            if self.training and keep_prob < 1:
                if self.recurrent == "weights":
                    U = U * keep_mask(U, keep_prob).div_(keep_prob)
                else:
                    of_state = rows.new_empty(0, self.hidden_size)
                    mask = self._draw(of_state, keep_prob, sizes, order)
            ways.append((W, U, *biases))
            masks.append(mask)
        if masks[0] is None and may_be_fused(rows, autocast=rows.is_cuda):
            return by_torch(self.without_masks, rows, sizes, ways, state)
        outputs, ends = [], []
        for weights, mask, *begin in zip(ways, masks, *state, strict=True):
            output, end = self._run(rows, sizes, weights, begin, mask, reverse=len(ends) == 1)
            outputs.append(output)
            ends.append(end)
        output = outputs[0] if len(outputs) == 1 else torch.cat(outputs, dim=-1)
        return output, [torch.stack(part) for part in zip(*ends, strict=True)]

    def _run(self, rows, sizes, weights, state, mask, reverse):
        """The formula, a step after the other: outputs (rows, hidden), and the last state."""
        W, U, b_ih, b_hh = weights
        turn = slice(None, None, -1 if reverse else None)
        from_input, outputs = linear(rows, W, b_ih).split(sizes), []
        for t in range(len(sizes))[turn]:
            n = sizes[t]
            m = None if mask is None else mask[t % len(mask)][:n]
            new = self._step(from_input[t], [part[:n] for part in state], U, b_hh, m)
            outputs.append(new[0])
            if n < state[0].shape[0]:  # the shorter sequences keep their end, or have not begun
                new = [torch.cat([part, old[n:]]) for part, old in zip(new, state, strict=True)]
            state = new
        return torch.cat(outputs[turn]), state

    def _draw(self, like, keep_prob, sizes, order):
        """Masks (steps or 1, batch, features of `like`), divided by their keep probability."""
        steps = len(sizes) if self.masks == "step" else 1
        mask = keep_mask(like, keep_prob, (steps, sizes[0], like.shape[-1])).div_(keep_prob)
        return _sorted(mask, order)

    def _check_shapes(self, rows, packed, state):
        n, order = self.input_size, "batch, time" if self.batch_first else "time, batch"
        if packed:
            check_shapes(rows.dim() == 2 and rows.shape[1] == n, f"(rows, {n}), packed", x=rows)
            batch = [int(packed.batch_sizes[0])]
        else:
            fits = rows.dim() in (2, 3) and rows.shape[-1] == n
            check_shapes(fits, f"({order}, {n}) or (time, {n})", x=rows)
            # the first dimensions are (batch, time), or the other way round, or (time,)
            *batch, steps = rows.shape[:-1] if self.batch_first else rows.shape[-2::-1]
            if steps == 0:
                raise ValueError(f"x must have at least one step in time, got {tuple(rows.shape)}")
        expected = (self.num_layers * (1 + self.bidirectional), *batch, self.hidden_size)
        if state is not None and [part.shape for part in state] != [expected] * len(self.parts):
            what = "two tensors (h, c)" if len(self.parts) > 1 else "a tensor h"
            raise ValueError(
                f"state must be {what} of shape {expected}, "
                f"got shapes {[tuple(part.shape) for part in state]}"
            )


def _sorted(x, order):
    """Sequences, the second dimension, in another order."""
    return x if order is None else x.index_select(1, order)


def _masked(rows, mask, sizes):
    """Rows with the masks of their steps and sequences."""
    in_time = mask.expand(len(sizes), -1, -1)
    if sizes[0] == sizes[-1]:
        return rows * in_time.flatten(0, 1)
    return rows * torch.cat([of_step[:n] for of_step, n in zip(in_time, sizes, strict=True)])
