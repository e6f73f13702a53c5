"""Sphinx extension: a page loads what it uses, and no more.

The theme and the extensions bring a dozen style sheets, three fonts of icons and a script that
draws them. When all pages are written, the sheets become one, with the rules that some page can
use; the fonts keep the glyphs that some page shows; a page's scripts are those with something to do
on it, and wait until it is there; pictures are small files, loaded when the reader comes near.
"""

import base64
import hashlib
import re
import shutil
from pathlib import Path

import book_fonts
import book_pictures
import book_styles

SHEET, FORMULAS = "pages.css", "formulas.woff2"
LINK = re.compile(r'<link\b[^>]*\brel="(?:stylesheet|preload)"[^>]*>\s*')
HREF = re.compile(r'href="([^"?]*)_static/([^"?]+)')
SCRIPT = re.compile(r'<script\b[^>]*\ssrc="(?P<src>[^"?]+)[^>]*></script>\s*')
NAMES = re.compile(r'<([a-z]\w*)|\b(?:class|id)="([^"]*)"')
FACE = re.compile(r"@font-face\{[^}]*\}")
FAMILY = re.compile(r"font-family:([^;}]+)")
QUOTE = re.compile(r"[\\\"']")
SOURCE = re.compile(r"src:\s*url\(([^)]+)\)[^;}]*")

# Scripts, by their place in _static, and what they work on. A page without it leaves them out.
WORKS_ON = {
    "vendor/fontawesome/": re.compile("(?!)"),  # draws icons; their font does, too
    "clipboard.min.js": re.compile('class="highlight'),
    "copybutton.js": re.compile('class="highlight'),
    "design-tabs.js": re.compile('class="sd-tab-set'),
    "togglebutton.js": re.compile(r'class="(?=[^"]*\badmonition\b)(?=[^"]*\bdropdown\b)'),
}
# Bootstrap could write many names into a page: these are what it does write into ours.
BOOTSTRAP = "bootstrap.js"
WRITTEN = {"active", "show", "fade", "tooltip", "tooltip-inner", "tooltip-arrow", "bs-tooltip-auto"}


def used_names(pages, static):
    """Return the names of tags, classes and ids on some pages and in their scripts."""
    found, scripts = set(WRITTEN), set()
    for page in pages:
        for tag, values in NAMES.findall(page):
            found.update(values.split() or [tag])
        found.update(re.findall(r"var\(\s*--([\w-]+)", page))
        scripts.update(found["src"] for found in SCRIPT.finditer(page))
    for src in scripts:
        path = static / src.partition("_static/")[2]
        if path.is_file() and path.name != BOOTSTRAP:
            found.update(re.findall(r"[\w-]+", path.read_text(encoding="utf-8")))
    return found


def choose_scripts(page):
    """Leave out a page's scripts that have nothing to do; defer the others."""

    def write(found):
        place = found["src"].partition("_static/")[2]
        for name, wanted in WORKS_ON.items():
            if place.startswith(name) and not wanted.search(page):
                return ""
        if " defer" in found[0]:
            return found[0]
        return found[0].replace("<script", "<script defer", 1)

    return SCRIPT.sub(write, page)


def sheets_of(page):
    """Return the style sheets that a page loads, by their place in _static."""
    links = [link[0] for link in LINK.finditer(page) if 'rel="stylesheet"' in link[0]]
    return [HREF.search(link)[2] for link in links if SHEET not in link]


def digest(data):
    return hashlib.sha256(data).hexdigest()[:8]


def use_small_fonts(css, static, pages):
    """Return a style sheet whose fonts have the glyphs that it and some pages show.

    The icons stand in the sheet itself. The font of the formulas becomes a file of its own.
    """
    elsewhere = QUOTE.sub("", FACE.sub("", css))

    def write(found):
        face = found[0]
        source = static / SOURCE.search(face)[1]
        if QUOTE.sub("", FAMILY.search(face)[1]).strip() not in elsewhere:
            return ""
        if "fontawesome" in source.parts:
            if source.stem.split("-")[1] not in elsewhere:  # its style: solid, regular, brands
                return ""
            font = book_fonts.with_glyphs(source, book_fonts.shown_as_icons(css))
            address = "data:font/woff2;base64," + base64.b64encode(font).decode()
        else:
            font = book_fonts.with_glyphs(source, book_fonts.shown_in_formulas(pages))
            (static / FORMULAS).write_bytes(font)
            address = f"{FORMULAS}?v={digest(font)}"
        return SOURCE.sub(f'src:url({address}) format("woff2")', face) if font else ""

    return FACE.sub(write, css)


def link(page, css):
    """Return a page that loads the one style sheet, and the font of formulas where it has some."""
    first = LINK.search(page)
    static = HREF.search(first[0])[1] + "_static/"
    links = f'<link rel="stylesheet" href="{static}{SHEET}?v={digest(css.encode())}" />\n'
    font = re.search(rf"{re.escape(FORMULAS)}\?v=\w+", css)
    if font and "<math" in page:
        links += (
            '<link rel="preload" as="font" type="font/woff2" crossorigin="anonymous" '
            f'href="{static}{font[0]}" />\n'
        )
    return page[: first.start()] + links + LINK.sub("", page[first.start() :])


def lighten(folder):
    """Make the pages in a folder light.

    A page that is so already, from an earlier build, only takes part in what all share.
    """
    static = folder / "_static"
    written = [path for path in folder.rglob("*.html") if static not in path.parents]
    pages = {path: path.read_text(encoding="utf-8") for path in written}
    sheets = dict.fromkeys(sheet for page in pages.values() for sheet in sheets_of(page))
    if not sheets:
        return
    small = book_pictures.make_small(pages.values(), folder / "_images")
    for path, page in pages.items():
        pages[path] = choose_scripts(book_pictures.use_small(page, small))
    css = "\n".join(book_styles.read(static, sheet) for sheet in sheets)
    css = book_styles.reduce(css, used_names(pages.values(), static))
    css = use_small_fonts(css, static, pages.values())
    (static / SHEET).write_text(css, encoding="utf-8")
    for path, page in pages.items():
        if LINK.search(page):
            path.write_text(link(page, css), encoding="utf-8")
    shutil.rmtree(static / "vendor" / "fontawesome", ignore_errors=True)


def finish(app, error):
    """Make the pages light once all are written."""
    if error is None and app.builder.format == "html":
        lighten(Path(app.outdir))


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("build-finished", finish, priority=900)  # the theme writes a sheet then, too
    return {"parallel_read_safe": True, "parallel_write_safe": True}
