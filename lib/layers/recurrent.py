"""Dropout in an LSTM: one mask a sequence, shared by all its steps, and the other places for it."""

import torch
from torch import Tensor, nn
from torch.nn.functional import linear

from ..validation import COUNT, PROBABILITY, Flag, OneOf, Optional, check_shapes, declared
from .base import StochasticLayer, check_floating_point
from .draw import keep_mask


@declared(
    input_size=COUNT,
    hidden_size=COUNT,
    keep_prob=PROBABILITY,
    recurrent_keep_prob=Optional(PROBABILITY),
    masks=OneOf("sequence", "step"),
    recurrent=OneOf("state", "update", "cell", "weights"),
    bias=Flag(),
    batch_first=Flag(),
)
class RecurrentDropoutLSTM(StochasticLayer):
    r"""LSTM with masks on its inputs and in its recurrence, by default the same at every step.

    With :math:`m^x, m^h` the masks divided by their keep probabilities, and all products but
    those with W and U entry by entry:

    .. math::

        (i, f, g, o) &= W (m^x x_t) + U (m^h h_{t-1}) + b , \\
        c_t &= \sigma(f) \, c_{t-1} + \sigma(i) \tanh(g) , \qquad h_t = \sigma(o) \tanh(c_t) .

    In eval there are no masks, and it is ``torch.nn.LSTM`` with one layer.

    Parameters
    ----------
    input_size, hidden_size : int
        Features of a step, and units.
    keep_prob : float
        Probability to KEEP a feature of the input, in (0, 1].
    recurrent_keep_prob : float, optional
        Probability to KEEP what the recurrent mask multiplies, in (0, 1]; `keep_prob` if not given.
    masks : {"sequence", "step"}
        Whether a sequence keeps its masks, or each of its steps draws new ones.
    recurrent : {"state", "update", "cell", "weights"}
        What the recurrent mask multiplies: the state :math:`h_{t-1}`, as above; the update
        :math:`\tanh(g)`; the memory :math:`c_{t-1}`; or the matrix U, with one mask for all steps
        and all sequences of a call, whatever `masks` says.
    bias, batch_first, device, dtype
        As for ``torch.nn.LSTM``.

    Attributes
    ----------
    weight_ih_l0, weight_hh_l0, bias_ih_l0, bias_hh_l0 : torch.nn.Parameter
        W (4 hidden, input), U (4 hidden, hidden) and the parts of b (4 hidden,), gates in the order
        i, f, g, o: names, shapes and first values are those of ``torch.nn.LSTM``.

    Shape
    -----
    As for ``torch.nn.LSTM``: input (time, batch, input), or (time, input) for one sequence, with at
    least one step; optional state (h, c), each (1, batch, hidden) or (1, hidden). It returns the
    outputs (time, batch, hidden) and the last state. Other shapes are a ValueError, a dtype that is
    not floating-point a TypeError. Each sequence of a batch has masks of its own. A second call
    draws new ones, also where it continues a sequence from its state.

    References
    ----------
    Gal and Ghahramani (2016), *A theoretically grounded application of dropout in recurrent neural
    networks*, section 4, with one mask for the four gates. "update": Semeniuta et al. (2016),
    *Recurrent dropout without memory loss*. "weights": Merity et al. (2018), *Regularizing and
    optimizing LSTM language models*.

    Examples
    --------
    >>> layer = RecurrentDropoutLSTM(3, 4, keep_prob=0.5)
    >>> output, (h, c) = layer(torch.ones(10, 2, 3))
    >>> output.shape, h.shape
    (torch.Size([10, 2, 4]), torch.Size([1, 2, 4]))
    >>> nn.LSTM(3, 4).load_state_dict(layer.state_dict())
    <All keys matched successfully>
    """

    def __init__(
        self,
        input_size,
        hidden_size,
        keep_prob=0.5,
        recurrent_keep_prob=None,
        *,
        masks="sequence",
        recurrent="state",
        bias=True,
        batch_first=False,
        device=None,
        dtype=None,
    ):
        super().__init__()
        self.input_size, self.hidden_size = input_size, hidden_size
        self.keep_prob = keep_prob
        self.recurrent_keep_prob = keep_prob if recurrent_keep_prob is None else recurrent_keep_prob
        self.masks, self.recurrent = masks, recurrent
        self.bias, self.batch_first = bias, batch_first
        torchs = nn.LSTM(input_size, hidden_size, bias=bias, device=device, dtype=dtype)
        for name, parameter in torchs.named_parameters():
            self.register_parameter(name, parameter)

    def forward(self, x: Tensor, state=None):
        check_floating_point(x)
        self._check_shapes(x, state)
        is_batch = x.dim() == 3
        if not is_batch:
            x = x.unsqueeze(1)
        elif self.batch_first:
            x = x.transpose(0, 1)
        steps, batch, _ = x.shape
        if state is None:
            h = c = x.new_zeros(batch, self.hidden_size)
        else:
            h, c = (part.reshape(batch, self.hidden_size) for part in state)

        U, where, masks = self.weight_hh_l0, None, steps * [None]
        if self.training and self.keep_prob < 1:
            x = x * self._draw_in_time(x, self.keep_prob)
        if self.training and self.recurrent_keep_prob < 1:
            where = self.recurrent
            if where == "weights":
                U = U * keep_mask(U, self.recurrent_keep_prob).div_(self.recurrent_keep_prob)
            else:
                states = x.new_empty(steps, batch, self.hidden_size)
                masks = self._draw_in_time(states, self.recurrent_keep_prob)
        b = self.bias_ih_l0 + self.bias_hh_l0 if self.bias else None
        from_input = linear(x, self.weight_ih_l0, b)  # (time, batch, 4 hidden)

        outputs = []
        for gates, m in zip(from_input, masks, strict=True):
            gates = gates + linear(h * m if where == "state" else h, U)
            i, f, g, o = gates.chunk(4, dim=-1)  # (batch, hidden) each
            update = torch.sigmoid(i) * torch.tanh(g)
            if where == "update":
                update = update * m
            if where == "cell":
                c = c * m
            c = torch.sigmoid(f) * c + update
            h = torch.sigmoid(o) * torch.tanh(c)
            outputs.append(h)
        output = torch.stack(outputs)
        if not is_batch:
            return output.squeeze(1), (h, c)
        return output.transpose(0, 1) if self.batch_first else output, (h[None], c[None])

    def _draw_in_time(self, x, keep_prob):
        """Masks for all steps of x, (time, batch, size), divided by their keep probability."""
        drawn = keep_mask(x if self.masks == "step" else x[:1], keep_prob)
        return drawn.div_(keep_prob).expand_as(x)

    def _check_shapes(self, x, state):
        n, order = self.input_size, "batch, time" if self.batch_first else "time, batch"
        fits = x.dim() in (2, 3) and x.shape[-1] == n
        check_shapes(fits, f"({order}, {n}) or (time, {n})", x=x)
        # the first dimensions are (batch, time), or the other way round, or (time,)
        *batch, steps = x.shape[:-1] if self.batch_first else x.shape[-2::-1]
        if steps == 0:
            raise ValueError(f"x must have at least one step in time, got {tuple(x.shape)}")
        expected = (1, *batch, self.hidden_size)
        if state is not None and [part.shape for part in state] != [expected, expected]:
            raise ValueError(
                f"state must be two tensors (h, c) of shape {expected}, "
                f"got shapes {[tuple(part.shape) for part in state]}"
            )
