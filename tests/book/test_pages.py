"""What the build does to make pages light: style sheets, fonts, scripts and pictures."""

import base64
import io
import re
import shutil
from pathlib import Path

import book_fonts
import book_light
import book_pictures
import book_styles
import book_theme
import pytest
from book_math import to_mathml
from fontTools.ttLib import TTFont
from PIL import Image

ROOT = Path(__file__).resolve().parents[2]
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
    (tmp_path / "styles").mkdir()
    (tmp_path / "styles" / "theme.css").write_text(
        '@import "../basic.css";\np{src:url(../a.png)}', encoding="utf-8"
    )
    (tmp_path / "basic.css").write_text(
        "b{src:url('img/b.png')}i{src:url(data:image/png;base64,A)}", encoding="utf-8"
    )
    css = book_styles.read(tmp_path, "styles/theme.css")
    expected = "b{src:url(img/b.png)}i{src:url(data:image/png;base64,A)}\np{src:url(a.png)}"
    assert css == expected


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


def png(color, size=(30, 20)):
    """The bytes of a picture."""
    image = Image.new("RGB", size, color)
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
        before, after = (
            Image.open(each).convert("RGB") for each in (io.BytesIO(data), small[what])
        )
        assert before.tobytes() == after.tobytes()
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


@pytest.fixture
def built(tmp_path):
    """A folder with two pages, style sheets and scripts."""
    static = tmp_path / "_static"
    (static / "styles").mkdir(parents=True)
    (static / "vendor" / "fontawesome").mkdir(parents=True)
    (static / "macros.html").write_text(HEAD, encoding="utf-8")
    (static / "a.js").write_text('document.body.classList.add("scrolled")', encoding="utf-8")
    (static / "copybutton.js").write_text('"copied"', encoding="utf-8")
    (static / "styles" / "a.css").write_text(
        "p{top:0}.card{top:0}.copied{top:0}.gone{top:0}", encoding="utf-8"
    )
    face = '@font-face {font-family: "Book Math"; src: url("%s") format("woff2")}'
    (static / "b.css").write_text(
        ".scrolled{top:0}math{font-family:'Book Math'}" + face % "math.woff2", encoding="utf-8"
    )
    shutil.copy(MATH_FONT, static / "math.woff2")
    (tmp_path / "one.html").write_text(f"{HEAD}<p>{to_mathml('x', False)}</p>", encoding="utf-8")
    (tmp_path / "two.html").write_text(
        f'{HEAD}<p class="card"></p><div class="highlight"></div>', encoding="utf-8"
    )
    (tmp_path / "index.html").write_text(
        '<meta http-equiv="Refresh" content="0; url=one.html" />', encoding="utf-8"
    )
    return tmp_path


def test_pages_load_one_sheet_and_the_scripts_that_they_need(built):
    book_light.lighten(built)
    one, two = ((built / name).read_text(encoding="utf-8") for name in ("one.html", "two.html"))
    css = (built / "_static" / "pages.css").read_text(encoding="utf-8")
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
    book_light.lighten(built)
    (built / "one.html").write_text(f'{HEAD}<p class="gone"></p>', encoding="utf-8")
    book_light.lighten(built)
    css = (built / "_static" / "pages.css").read_text(encoding="utf-8")
    assert ".gone{" in css
    assert ".card{" in css
    pages = {path: path.read_text(encoding="utf-8") for path in built.glob("*.html")}
    sheets = {
        re.search(r"pages\.css\?v=\w+", page)[0]
        for path, page in pages.items()
        if path.stem != "index"
    }
    assert len(sheets) == 1
    book_light.lighten(built)
    assert pages == {path: path.read_text(encoding="utf-8") for path in built.glob("*.html")}


def test_nothing_folds_in_the_index_of_modules():
    entries = [("lib", 1, "api", "lib", "", "", ""), ("lib.masks", 2, "api", "m", "", "", "")]
    context = {"script_files": [], "css_files": [], "content": [("l", entries)]}
    book_theme.mend(None, "py-modindex", "domainindex.html", context, None)
    ((letter, mended),) = context["content"]
    assert letter == "l"
    assert [entry[1] for entry in mended] == [0, 2]
    assert [entry[2:] for entry in mended] == [entry[2:] for entry in entries]
