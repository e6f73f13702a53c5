"""Figures that move: one frame for each value of a quantity, and a slider to go through them."""

import base64
import hashlib
import html
import io
import json

import matplotlib.pyplot as plt
from PIL import Image

from lib.validation import POSITIVE, TEXT, Function, Pair, Text, Whole, declared

MIN_ALT = 40
DPI, COLORS = 120, 64  # about 10 kB a frame

PAGE = """\
<div class="moving-figure" id="{id}">
<img src="{still}" alt="{alt}" width="{width}">
<p hidden><label for="{id}-at">{label}</label>
<input id="{id}-at" type="range" min="0" max="{last}" step="1" value="{start}"
 aria-valuetext="{value}"> <output for="{id}-at" aria-live="off">{value}</output></p>
<script>
(() => {{
  const figure = document.getElementById("{id}");
  const [frames, values] = {data};
  const image = figure.querySelector("img");
  const control = figure.querySelector("input");
  const shown = figure.querySelector("output");
  const about = image.alt;
  for (const near of ["pointerenter", "focus"]) {{
    const load = (frame) => (new Image().src = frame);
    control.addEventListener(near, () => frames.forEach(load), {{ once: true }});
  }}
  control.addEventListener("input", () => {{
    image.src = frames[control.value];
    image.alt = about + " Shown: " + values[control.value] + ".";
    shown.value = values[control.value];
    control.setAttribute("aria-valuetext", values[control.value]);
  }});
  control.parentElement.hidden = false;
}})();
</script>
</div>"""


@declared(draw=Function(), label=TEXT, alt=Text(MIN_ALT), text=Function(), figsize=Pair(POSITIVE))
class MovingFigure:
    """A figure that the reader can change: a slider shows one of its frames.

    The frames are drawn when the figure is made, so that no kernel and no network is needed to move
    it; they stand within the page, or where the book's build puts them. Where scripts are off, and
    on paper, it is the frame at `start`.

    Parameters
    ----------
    draw : callable
        ``draw(fig, value)`` draws one frame on an empty matplotlib figure. For a calm picture, give
        all frames the same limits.
    values : sequence
        What the slider goes through, at least two.
    label : str
        What changes, as it stands beside the slider.
    alt : str
        What one sees and what it means, for those who cannot see it.
    start : int
        Place of the frame that is shown first; negative places count from the end.
    text : callable
        Turns a value into what stands beside the slider.
    figsize : pair of float
        Width and height in inches. The frames are held in 64 colours.

    Raises
    ------
    TypeError, ValueError
        If there are fewer than two values, or `start` is none of their places.

    Examples
    --------
    >>> def draw(fig, p):
    ...     fig.subplots().bar([0, 1], [1 - p, p])
    >>> MovingFigure(draw, [0.2, 0.5, 0.8], label="keep probability",
    ...              alt="Two bars, dropped and kept; the second grows with the keep probability.")
    <MovingFigure: keep probability from 0.2 to 0.8, 3 frames>
    """

    def __init__(self, draw, values, *, label, alt, start=0, text=str, figsize=(6.4, 3.2)):
        values = list(values)
        if len(values) < 2:
            raise ValueError(f"values must be at least two, got {len(values)}")
        start = Whole(-len(values), len(values) - 1).check(start, "start")
        self.label, self.alt, self.start = label, alt, start % len(values)
        self.values = [text(value) for value in values]
        self.width = round(100 * figsize[0])
        self.frames = [self._frame(draw, value, figsize) for value in values]

    def _frame(self, draw, value, figsize):
        """Draw one frame; return it as a small PNG."""
        fig = plt.figure(figsize=figsize, dpi=DPI)
        try:
            draw(fig, value)
            drawn, small = io.BytesIO(), io.BytesIO()
            fig.savefig(drawn, format="png", dpi=DPI)
        finally:
            plt.close(fig)
        image = Image.open(drawn).convert("RGB").quantize(COLORS)
        image.save(small, format="png", optimize=True)
        return small.getvalue()

    def __repr__(self):
        ends = f"from {self.values[0]} to {self.values[-1]}"
        return f"<MovingFigure: {self.label} {ends}, {len(self.frames)} frames>"

    def _repr_png_(self):
        return self.frames[self.start]

    def _repr_html_(self):
        texts = (base64.b64encode(frame).decode() for frame in self.frames)
        frames = [f"data:image/png;base64,{text}" for text in texts]
        return PAGE.format(
            id="moving-" + hashlib.sha256(b"".join(self.frames)).hexdigest()[:12],
            still=frames[self.start],
            alt=html.escape(self.alt),
            label=html.escape(self.label),
            value=html.escape(self.values[self.start]),
            data=json.dumps([frames, self.values]).replace("</", "<\\/"),
            last=len(self.frames) - 1,
            start=self.start,
            width=self.width,
        )
