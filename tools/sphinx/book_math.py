r"""Sphinx extension: formulas become MathML when the book is built.

The pages need no script and no network for them. A formula that cannot be converted is a warning,
with its page and the reason; the book is built with warnings as errors.
"""

import html
import re

from docutils import nodes
from math_core import LatexError, LatexToMathML
from sphinx.util import logging
from sphinx.util.math import get_node_equation_number

logger = logging.getLogger(__name__)
converter = LatexToMathML(fancy_error=False)

# Sphinx numbers a whole block: environments that number their lines become those that do not.
INNER = {"equation": None, "align": "aligned", "gather": "gathered", "multline": "gathered"}
INNERMOST = re.compile(r"\\begin\{([\w*]+)\}(?:(?!\\begin).)*?\\end\{\1\}", re.DOTALL)
ENVIRONMENT = re.compile(r"\\begin\{(\w+)\*?\}(.*)\\end\{\1\*?\}", re.DOTALL)


def has_lines(latex):
    r"""Whether a formula has a line break (``\\``) outside of all environments."""
    found = 1
    while found:
        latex, found = INNERMOST.subn("", latex)
    return r"\\" in latex


def to_mathml(latex, display):
    """Convert one formula to MathML; raise LatexError where that is impossible."""
    latex = latex.strip().replace("{split}", "{aligned}")
    if display:
        match = ENVIRONMENT.fullmatch(latex)
        if match and match[1] in INNER:
            inner = INNER[match[1]]
            latex = rf"\begin{{{inner}}}{match[2]}\end{{{inner}}}" if inner else match[2]
        elif has_lines(latex):
            latex = rf"\begin{{aligned}}{latex}\end{{aligned}}"
    return converter.convert_with_local_state(latex, displaystyle=display)


def convert(node, display):
    """Return a node's MathML, or its source with a warning."""
    latex = node.astext()
    try:
        return to_mathml(latex, display)
    except LatexError as error:
        logger.warning("formula %r: %s", latex, error, location=node, type="math")
        return html.escape(latex)


def visit_math(self, node):
    """Write an inline formula."""
    self.body.append(self.starttag(node, "span", "", CLASS="math notranslate nohighlight"))
    self.body.append(convert(node, display=False) + "</span>")
    raise nodes.SkipNode


def visit_displaymath(self, node):
    """Write a displayed formula, with its number and a link to it where it has a label."""
    self.body.append(self.starttag(node, "div", CLASS="math notranslate nohighlight"))
    if node["number"]:
        self.body.append(f'<span class="eqno">({get_node_equation_number(self, node)})')
        self.add_permalink_ref(node, "Link to this equation")
        self.body.append("</span>")
    self.body.append(f'<div class="formula">{convert(node, display=True)}</div></div>\n')
    raise nodes.SkipNode


def setup(app):
    """Register the extension with Sphinx."""
    app.add_html_math_renderer("mathml", (visit_math, None), (visit_displaymath, None))
    return {"parallel_read_safe": True, "parallel_write_safe": True}
