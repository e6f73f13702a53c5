"""Fonts with the glyphs that the book's pages show, and no others."""

import html
import io
import re
import unicodedata

from fontTools import subset
from fontTools.ttLib import TTFont

FORMULA = re.compile(r"<math\b.*?</math>", re.DOTALL)
TAG = re.compile(r"<[^>]*>")
VARIABLE = re.compile(r"<mi>(\w)</mi>")
ICON = re.compile("[\ue000-\uf8ff]|\\\\[ef][0-9a-f]{3}")
DRAWN = "\N{SQUARE ROOT}"  # an element draws it, no text

# A variable's letter is shown as the italic one that Unicode has for formulas.
ITALIC = {
    chr(int(unicodedata.decomposition(letter).split()[1], 16)): letter
    for letter in map(chr, (0x210E, *range(0x1D434, 0x1D455), *range(0x1D456, 0x1D468)))
} | {
    chr(int(unicodedata.decomposition(letter).split()[1], 16)): letter
    for letter in map(chr, range(0x1D6E2, 0x1D71C))
}


def shown_in_formulas(pages):
    """Return the characters that the formulas of some pages show."""
    formulas = "".join(found[0] for page in pages for found in FORMULA.finditer(page))
    text = html.unescape(TAG.sub("", formulas)) + DRAWN
    return set(text) | {ITALIC.get(letter, letter) for letter in VARIABLE.findall(formulas)}


def shown_as_icons(css):
    """Return the icons that a style sheet shows."""
    found = ICON.findall(css)
    return {each if len(each) == 1 else chr(int(each[1:], 16)) for each in found}


def with_glyphs(path, characters):
    """Return a font with the glyphs for some characters alone, as WOFF2; empty if it has none."""
    font = TTFont(path)
    if not set(map(ord, characters)) & font.getBestCmap().keys():
        return b""
    options = subset.Options(layout_features=["*"], desubroutinize=True)
    subsetter = subset.Subsetter(options)
    subsetter.populate(text="".join(characters))
    subsetter.subset(font)
    font.flavor = "woff2"
    small = io.BytesIO()
    font.save(small)
    return small.getvalue()
