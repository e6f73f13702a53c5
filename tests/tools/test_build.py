"""The book's own Sphinx extensions, on a book of one page."""

import re
import shutil
import tomllib
from concurrent.futures import ThreadPoolExecutor
from types import SimpleNamespace

import book_execution
import book_launch
import book_theme
import pytest
import yaml
from book_math import to_mathml
from commands import BIN, HARD_NAME, call
from math_core import LatexError
from nbformat.v4 import new_code_cell, new_markdown_cell
from notebooks import KERNEL
from repository import ROOT, put, text_of, write

ADDRESS = "https://github.com/somebody/somewhere"
TEXT = r"""# Page

$$
\hat{y} = \begin{cases} y / p & \text{kept} \\ 0 & \text{dropped} \end{cases}
$$ (eq-page)

By {eq}`eq-page`, $\mathbb{E}[\hat{y}] = y$.
"""
SOLUTION = """### BEGIN SOLUTION
print(f"the answer is {answer()}")
### END SOLUTION"""


@pytest.fixture
def book(tmp_path):
    """A book with this book's settings, one page, and a `lib`; its folder has a hard name."""
    root = tmp_path / HARD_NAME
    settings = yaml.safe_load(text_of("_config.yml"))
    settings["sphinx"]["local_extensions"] = {
        name: str(ROOT / folder) for name, folder in settings["sphinx"]["local_extensions"].items()
    }
    files = {
        "_config.yml": yaml.safe_dump(settings),
        "_toc.yml": "format: jb-book\nroot: book/page\n",
        "book/references.bib": text_of("book/references.bib"),
        "lib/__init__.py": "",
        "lib/answer.py": answering(41),
    }
    put(root, files)
    for name in ("_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    write_page(root, TEXT, f"from lib.answer import answer\n\n{SOLUTION}")
    return root


def answering(value):
    return f"def answer():\n    return {value}\n"


def write_page(book, text, source):
    write(book / "book" / "page.ipynb", new_markdown_cell(text), new_code_cell(source), **KERNEL)


def build(book):
    """Build the book as `make book` does; return the exit code, and what was printed."""
    settings = {"PYTHONPATH": str(book), "NO_COLOR": "1", "BOOK_REPOSITORY": ADDRESS}
    settings["PYTHONDONTWRITEBYTECODE"] = ""  # bytecode can be stale as well
    command = [BIN / "jupyter-book", "build", ".", "-W", "--keep-going", "-n"]
    return call(*command, cwd=book, **settings)


def page_of(book):
    """Build the book without a fault; return its page, and what was printed."""
    code, log = build(book)
    assert code == 0, log
    return text_of(book / "_build" / "html" / "book" / "page.html"), log


@pytest.mark.slow
def test_a_change_in_lib_changes_the_page(book):
    """Built; built again after a change of style alone; and again after a change in `lib`."""
    page, log = page_of(book)
    assert "the answer is 41" in page
    assert "executed book/page.ipynb" in log
    assert "SOLUTION" not in page
    # With an address there are buttons; Thebe, which would load a program, is gone.
    assert "mybinder.org/v2/gh/somebody/somewhere/main" in page
    assert "thebe" not in page.lower()
    # Formulas need no script, and keep their number. The root page opens the landing page.
    assert "<math" in page
    assert "window.MathJax" not in page
    assert "mathjax@" not in page
    assert '<span class="eqno">(1)' in page
    html = book / "_build" / "html"
    assert "url=book/page.html" in text_of(html / "index.html")

    put(book, {"book/_static/book.css": "p { color: red; }"})
    page, log = page_of(book)
    assert "executed" not in log
    assert "the answer is 41" in page
    assert "red" in text_of(html / "_static" / "book.css")

    put(book, {"lib/answer.py": answering(42)})
    page, log = page_of(book)
    assert "executed book/page.ipynb" in log
    assert "the answer is 42" in page
    assert len(list((book / "_build" / ".jupyter_cache").iterdir())) == 1


@pytest.mark.slow
def test_a_failing_cell_and_a_bad_formula_fail_the_build(book):
    write_page(book, TEXT + "\n$\\nosuchcommand$\n", "1 / 0")
    code, log = build(book)
    assert code != 0
    assert "ZeroDivisionError" in log
    assert r"\nosuchcommand" in log


CHANGING = """from pathlib import Path

flag, source = Path("../flag"), Path("../lib/answer.py")
text = source.read_text(encoding="utf-8")
if flag.exists():
    source.write_text(text.replace("41", "40"), encoding="utf-8")
from lib.answer import answer

if flag.exists():
    source.write_text(text, encoding="utf-8")
    flag.unlink()
print(f"the answer is {answer()}")"""


@pytest.mark.slow
def test_a_change_of_lib_during_the_build_leaves_no_number_behind(book):
    """`lib` is changed when its fingerprint is taken, imported, and as before when all is done."""
    write_page(book, TEXT, CHANGING)
    (book / "flag").touch()
    code, log = build(book)
    assert code != 0
    assert "changed while the book was built: lib/answer.py" in log
    page, _ = page_of(book)
    assert "the answer is 41" in page


@pytest.mark.slow
def test_two_builds_at_once(book):
    """The second waits for the first, and finds everything done."""
    with ThreadPoolExecutor(2) as pool:
        results = list(pool.map(build, [book, book]))
    assert [code for code, _ in results] == [0, 0], results
    assert sum("executed book/page.ipynb" in log for _, log in results) == 1


def test_fingerprint(tmp_path):
    """It follows contents and names of what results depend on, and nothing else."""
    lib, results = tmp_path / "lib", tmp_path / "book" / "part" / "results"
    put(tmp_path, {"lib/masks.py": "a = 1", "requirements.txt": "numpy==2.4.6"})
    seen = [book_execution.fingerprint(tmp_path)]

    def changed():
        seen.append(book_execution.fingerprint(tmp_path))
        return seen[-1] != seen[-2]

    put(tmp_path, {"README.md": "", "lib/__pycache__/masks.pyc": ""})
    assert not changed()
    put(lib, {"masks.py": "a = 2"})
    assert changed()
    (lib / "masks.py").rename(lib / "moments.py")
    assert changed()
    put(tmp_path, {"requirements.txt": "numpy==2.4.7"})
    assert changed()
    for name in ("one.csv", "one.png", "one.lock", "one.part"):
        put(results, {name: "1,2"})
        assert changed() == (name in ("one.csv", "one.png"))


@pytest.mark.parametrize(
    ("url", "variable", "expected"),
    [("", None, ""), ("", ADDRESS + "/", ADDRESS), ("https://github.com/a/b", ADDRESS, None)],
)
def test_buttons_need_an_address(monkeypatch, url, variable, expected):
    monkeypatch.delenv("BOOK_REPOSITORY", raising=False)
    if variable:
        monkeypatch.setenv("BOOK_REPOSITORY", variable)
    config = SimpleNamespace(html_theme_options={"repository_url": url})
    book_launch.set_address(None, config)
    assert config.html_theme_options["repository_url"] == (url if expected is None else expected)
    assert ("launch_buttons" in config.html_theme_options) == bool(url or variable)


@pytest.mark.parametrize(
    ("before", "after"),
    [
        ("<th></th>", "<td></td>"),
        ('<th class="head"><p></p></th>', '<td class="head"></td>'),
        ("<th><p>unit</p></th>", "<th><p>unit</p></th>"),
        ('<div role="doc-biblioentry">', '<div role="listitem">'),
        ('<summary aria-label="Toggle hidden content">', "<summary>"),
        ('<script type="text/x-thebe-config">\n{}\n</script>', ""),
    ],
)
def test_what_is_mended_on_a_page(before, after):
    context = {"body": before, "script_files": ["thebe.js", "book.js"], "css_files": []}
    book_theme.mend(None, "page", "page.html", context, None)
    assert context["body"] == after
    assert context["script_files"] == ["book.js"]


FORMULAS = [
    r"y = m \odot g(Wx - b), \qquad m_i \sim \text{Bernoulli}(p)",
    r"\mathbb{E}[y] = p\,y, \quad \operatorname{Var}[y] = p(1-p)\,y^2",
    r"\underbrace{p \sum_i w_i x_i}_{\text{weight scaling}} \approx \overbrace{a}^{b}",
    r"\hat{y} = \begin{cases} y/p & \text{kept} \\ 0 & \text{dropped} \end{cases}",
    r"\begin{aligned} a &= b \\ &= c \end{aligned}",
    r"\begin{align} a &= b \\ &= c \end{align}",
    r"\begin{equation*} a = b \end{equation*}",
    r"\begin{gather} a = b \\ c = d \end{gather}",
    r"a &= b \\ &= c",
    r"L = \begin{split} a &= b \\ &= c \end{split}",
    r"\left(\prod_i \frac{\partial L}{\partial h_i}\right)^{1/2^n} \Bigl[\tfrac12\Bigr]",
    r"\mathcal{N}(\mu, \sigma^2), \boldsymbol{\theta}, \mathbf{W}, \bar{x}, \widehat{x}, x^\top",
    r"\operatorname*{arg\,max}_y \log \binom{n}{k} \xrightarrow{d} \lVert w \rVert \in \mathbb{R}",
    r"\begin{pmatrix} 1 & 0 \\ 0 & 1 \end{pmatrix} \mid \mathbf{1}\{a \le b\} \ne \infty",
]


@pytest.mark.parametrize("latex", FORMULAS)
def test_formula(latex):
    mathml = to_mathml(latex, display=True)
    assert mathml.startswith('<math display="block">')
    # The number belongs to the block: the formula brings none of its own.
    assert "<mtext>(1)</mtext>" not in mathml
    assert mathml.count("<mtable") == (r"\\" in latex)


@pytest.mark.parametrize(
    "latex", [r"\nosuchcommand", r"\begin{tikz} a \end{tikz}", r"\frac{1}", "a & b"]
)
def test_formula_that_cannot_be_converted(latex):
    with pytest.raises(LatexError):
        to_mathml(latex, display=True)


def pins(path):
    """The pinned packages of a requirements file: name and version."""
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", text_of(path), re.MULTILINE))


def test_requirements_are_pinned_and_binder_has_the_same():
    required, binder = pins("requirements.txt"), pins("binder/requirements.txt")
    lines = text_of("requirements.txt").splitlines()
    assert len(required) == len([line for line in lines if line and not line.startswith("#")])
    project = tomllib.loads(text_of("pyproject.toml"))["project"]
    imported = {*project["dependencies"], *project["optional-dependencies"]["book"]}
    assert imported - {"ipython"} <= set(binder)  # which comes with jupyterlab
    for package in binder.keys() & required.keys():
        assert binder[package] == required[package], package
    constraints = {name.lower(): version for name, version in pins("constraints.txt").items()}
    for package, version in required.items():
        assert constraints[package.lower()] == version, "write constraints.txt anew"
