"""What the build does to make pages light: style sheets, fonts, scripts and pictures."""

import base64
import io
import re

import book_fonts
import book_light
import book_pictures
import book_styles
import book_theme
import pytest
from book_math import to_mathml
from fontTools.ttLib import TTFont
from PIL import Image
from repository import ROOT, put, text_of

MATH_FONT = ROOT / "book" / "_static" / "texgyretermes-math.woff2"


@pytest.mark.parametrize(
    ("css", "expected"),
    [
        ("p{color:red}.gone{color:red}", "p{color:red}"),
        ("#top,.gone,p .card{color:red}", "#top,p .card{color:red}"),
        ("p.card>.gone{color:red}", ""),
        ("p:hover,p::before,p:nth-child(2n){color:red}", None),
        ("p:not(.gone),*,[data-theme=dark] p,:root{color:red}", None),
        ("@media print{.gone{color:red}}", ""),
        ("@media (width<9px){.gone{color:red}p{color:red}}", "@media (width<9px){p{color:red}}"),
        ("@import 'a.css';/* gone */p{/* gone */color:red}", "p{color:red}"),
        (
            "p{color:var(--a)}:root{--a:var(--b);--b:1;--c:';';--d:1}",
            "p{color:var(--a)}:root{--a:var(--b);--b:1;}",
        ),
        (
            "@keyframes a{0%{top:0}}@keyframes b{0%{top:0}}p{animation:a 1s}",
            "@keyframes a{0%{top:0}}p{animation:a 1s}",
        ),
        ('@font-face{font-family:A;src:url("a.woff2")}', None),
    ],
)
def test_rules_that_no_page_can_use_are_dropped(css, expected):
    words = {"p", "card", "top"}
    assert book_styles.reduce(css, words) == (css if expected is None else expected)


def test_a_sheet_brings_what_it_imports_and_its_paths_stay_right(tmp_path):
    theme = '@import "../basic.css";\np{src:url(../a.png)}'
    basic = "b{src:url('img/b.png')}i{src:url(data:image/png;base64,A)}"
    put(tmp_path, {"styles/theme.css": theme, "basic.css": basic})
    expected = "b{src:url(img/b.png)}i{src:url(data:image/png;base64,A)}\np{src:url(a.png)}"
    assert book_styles.read(tmp_path, "styles/theme.css") == expected


def test_a_font_has_what_formulas_show_and_grows_with_them():
    """Letters of variables are shown in italics; braces and roots stretch as far as before."""
    page = "<p>Z</p>" + to_mathml(r"\underbrace{x + \theta}_{\text{sum}} \le \sqrt{h}", True)
    shown = book_fonts.shown_in_formulas([page])
    assert {"𝑥", "𝜃", "ℎ", "s", "+", "≤", "√", "⏟"} <= shown
    assert "Z" not in shown
    data = book_fonts.with_glyphs(MATH_FONT, shown)
    assert len(data) < MATH_FONT.stat().st_size / 4
    small, whole = TTFont(io.BytesIO(data)), TTFont(MATH_FONT)
    assert set(map(ord, shown)) - {0x2061} <= small.getBestCmap().keys()
    for which, character in (("Horiz", "⏟"), ("Vert", "√")):
        sizes = []
        for font in (small, whole):
            variants = font["MATH"].table.MathVariants
            glyph = font.getBestCmap()[ord(character)]
            place = getattr(variants, f"{which}GlyphCoverage").glyphs.index(glyph)
            built = getattr(variants, f"{which}GlyphConstruction")[place]
            parts = built.GlyphAssembly.PartRecords if built.GlyphAssembly else []
            sizes.append((built.VariantCount, len(parts)))
        assert sizes[0] == sizes[1]
        assert sizes[0][0] > 1
    assert book_fonts.with_glyphs(MATH_FONT, "\uf0c9") == b""


@pytest.mark.parametrize(
    ("text", "icons"), [(r'content:"\f0c9"', "\uf0c9"), ("'\uf019'", "\uf019")]
)
def test_icons_are_found_in_a_style_sheet(text, icons):
    assert book_fonts.shown_as_icons(f"a:before{{{text};color:#f0f0f0}}") == set(icons)


def png(color):
    """The bytes of a picture."""
    image = Image.new("RGB", (30, 20), color)
    image.putpixel((1, 1), (1, 2, 3))
    data = io.BytesIO()
    image.save(data, "png")
    return data.getvalue()


def test_pictures_lose_bytes_and_nothing_else(tmp_path):
    """They are told by size, and all but the first are lazy; frames become files of their own."""
    images = tmp_path / "_images"
    images.mkdir()
    (images / "a.png").write_bytes(png("red"))
    frame = "data:image/png;base64," + base64.b64encode(png("blue")).decode()
    page = (
        '<html data-content_root="../"><img alt="A" src="../_images/a.png" />'
        f'<img src="{frame}" width="15"><img src="logo.svg"><script>f(["{frame}"])</script>'
    )
    small = book_pictures.make_small([page], images)
    assert len(small) == 2
    assert {path.suffix for path in images.iterdir()} == {".webp"}
    for what, data in (("a.png", png("red")), (frame, png("blue"))):
        pictures = [Image.open(each).convert("RGB") for each in (io.BytesIO(data), small[what])]
        assert pictures[0].tobytes() == pictures[1].tobytes()
    names = [f"../_images/{small[what].name}" for what in ("a.png", frame)]
    assert book_pictures.use_small(page, small) == (
        f'<html data-content_root="../">'
        f'<img loading="eager" width="30" height="20" alt="A" src="{names[0]}" />'
        f'<img loading="lazy" width="15" height="10" src="{names[1]}"><img src="logo.svg">'
        f'<script>f(["{names[1]}"])</script>'
    )


HEAD = """<html data-content_root="./"><head>
<link href="_static/styles/a.css?digest=1" rel="stylesheet" />
<link rel="preload" as="script" href="_static/a.js" />
<link rel="stylesheet" type="text/css" href="_static/b.css" />
<link rel="icon" href="_static/favicon.svg"/>
<script src="_static/vendor/fontawesome/6.5.2/js/all.min.js?digest=1"></script>
<script src="_static/copybutton.js?v=1"></script>
<script src="_static/a.js"></script>
</head>"""


SHEET = """.scrolled{top:0}math{font-family:'Book Math'}
@font-face {font-family: "Book Math"; src: url("math.woff2") format("woff2")}"""


@pytest.fixture
def built(tmp_path):
    """A folder with two pages, style sheets and scripts."""
    files = {
        "_static/macros.html": HEAD,
        "_static/a.js": 'document.body.classList.add("scrolled")',
        "_static/copybutton.js": '"copied"',
        "_static/vendor/fontawesome/a.css": "",
        "_static/styles/a.css": "p{top:0}.card{top:0}.copied{top:0}.gone{top:0}",
        "_static/b.css": SHEET,
        "one.html": f"{HEAD}<p>{to_mathml('x', False)}</p>",
        "two.html": f'{HEAD}<p class="card"></p><div class="highlight"></div>',
        "index.html": '<meta http-equiv="Refresh" content="0; url=one.html" />',
    }
    put(tmp_path, files)
    (tmp_path / "_static" / "math.woff2").write_bytes(MATH_FONT.read_bytes())
    return tmp_path


def test_pages_load_one_sheet_and_the_scripts_that_they_need(built):
    book_light.lighten(built)
    one, two, css = (
        text_of(built / name) for name in ("one.html", "two.html", "_static/pages.css")
    )
    for kept in ("p{", ".card{", ".copied{", ".scrolled{", "math{", "url(formulas.woff2?v="):
        assert kept in css
    assert ".gone" not in css
    for page in (one, two):
        assert len(re.findall('rel="stylesheet"', page)) == 1
        assert '<link rel="icon"' in page
        assert "fontawesome" not in page
        assert '<script defer src="_static/a.js"></script>' in page
    assert 'as="font"' in one
    assert "copybutton.js" not in one
    assert "preload" not in two
    assert "copybutton.js" in two
    assert not (built / "_static" / "vendor" / "fontawesome").exists()
    assert len((built / "_static" / "formulas.woff2").read_bytes()) < 10_000


def test_a_page_written_anew_joins_the_others(built):
    """The others keep what they need, and learn about the new sheet; then nothing changes."""

    def lightened():
        book_light.lighten(built)
        return {path.stem: text_of(path) for path in built.glob("*.html")}

    lightened()
    put(built, {"one.html": f'{HEAD}<p class="gone"></p>'})
    pages = lightened()
    css = text_of(built / "_static" / "pages.css")
    assert ".gone{" in css
    assert ".card{" in css
    sheets = [re.search(r"pages\.css\?v=\w+", pages[name])[0] for name in ("one", "two")]
    assert sheets[0] == sheets[1]
    assert lightened() == pages


def test_nothing_folds_in_the_index_of_modules():
    entries = [("lib", 1, "api", "lib", "", "", ""), ("lib.masks", 2, "api", "m", "", "", "")]
    context = {"script_files": [], "css_files": [], "content": [("l", entries)]}
    book_theme.mend(None, "py-modindex", "domainindex.html", context, None)
    ((letter, mended),) = context["content"]
    assert letter == "l"
    assert [entry[1] for entry in mended] == [0, 2]
    assert [entry[2:] for entry in mended] == [entry[2:] for entry in entries]
