"""The book's own Sphinx extensions, on a book of one page."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from types import SimpleNamespace

import book_execution
import book_launch
import book_theme
import nbformat
import pytest
import yaml
from book_math import to_mathml
from math_core import LatexError
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook

ROOT = Path(__file__).resolve().parents[2]
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
    root = tmp_path / os.fsdecode("Mi libro ñ".encode())
    root.mkdir()
    settings = yaml.safe_load((ROOT / "_config.yml").read_text(encoding="utf-8"))
    extensions = settings["sphinx"]["local_extensions"]
    settings["sphinx"]["local_extensions"] = {
        name: str(ROOT / folder) for name, folder in extensions.items()
    }
    (root / "_config.yml").write_text(yaml.safe_dump(settings), encoding="utf-8")
    (root / "_toc.yml").write_text("format: jb-book\nroot: book/page\n", encoding="utf-8")
    for name in ("_static", "_templates"):
        shutil.copytree(ROOT / "book" / name, root / "book" / name)
    shutil.copy(ROOT / "book" / "references.bib", root / "book")
    (root / "lib").mkdir()
    (root / "lib" / "__init__.py").touch()
    write_function(root, 41)
    write_page(root, TEXT, f"from lib.answer import answer\n\n{SOLUTION}")
    return root


def write_function(book, value):
    source = f"def answer():\n    return {value}\n"
    (book / "lib" / "answer.py").write_text(source, encoding="utf-8")


def write_page(book, text, source):
    notebook = new_notebook(cells=[new_markdown_cell(text), new_code_cell(source)])
    notebook.metadata.kernelspec = {"name": "python3", "display_name": "Python 3"}
    nbformat.write(notebook, book / "book" / "page.ipynb")


ADDRESS = "https://github.com/somebody/somewhere"


def build(book):
    """Build the book as `make book` does; return the exit code, and what was printed."""
    settings = {"PYTHONPATH": str(book), "NO_COLOR": "1", "BOOK_REPOSITORY": ADDRESS}
    settings["PYTHONDONTWRITEBYTECODE"] = ""  # bytecode can be stale as well
    result = subprocess.run(
        [BIN / "jupyter-book", "build", ".", "-W", "--keep-going", "-n"],
        cwd=book,
        env=os.environ | settings,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        encoding="utf-8",
        check=False,
    )
    return result.returncode, result.stdout


BIN = Path(sys.executable).parent


@pytest.mark.slow
def test_a_change_in_lib_changes_the_page(book):
    """Built; built again after a change of style alone; and again after a change in `lib`."""
    page = book / "_build" / "html" / "book" / "page.html"

    code, log = build(book)
    assert code == 0, log
    html = page.read_text(encoding="utf-8")
    assert "the answer is 41" in html
    assert "executed book/page.ipynb" in log
    assert "SOLUTION" not in html
    # With an address there are buttons; Thebe, which would load a program, is gone.
    assert "mybinder.org/v2/gh/somebody/somewhere/main" in html
    assert "thebe" not in html.lower()
    # Formulas need no script, and keep their number. The root page opens the landing page.
    assert "<math" in html
    assert "window.MathJax" not in html
    assert "mathjax@" not in html
    assert '<span class="eqno">(1)' in html
    index = (book / "_build" / "html" / "index.html").read_text(encoding="utf-8")
    assert "url=book/page.html" in index

    style = book / "book" / "_static" / "book.css"
    style.write_text("p { color: red; }", encoding="utf-8")
    code, log = build(book)
    assert code == 0, log
    assert "executed" not in log
    assert "the answer is 41" in page.read_text(encoding="utf-8")
    assert "red" in (book / "_build" / "html" / "_static" / "book.css").read_text(encoding="utf-8")

    write_function(book, 42)
    code, log = build(book)
    assert code == 0, log
    assert "executed book/page.ipynb" in log
    assert "the answer is 42" in page.read_text(encoding="utf-8")
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
    code, log = build(book)
    assert code == 0, log
    page = (book / "_build" / "html" / "book" / "page.html").read_text(encoding="utf-8")
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
    (tmp_path / "lib").mkdir()
    source = tmp_path / "lib" / "masks.py"
    source.write_text("a = 1", encoding="utf-8")
    (tmp_path / "requirements.txt").write_text("numpy==2.4.6", encoding="utf-8")
    seen = [book_execution.fingerprint(tmp_path)]

    def changed():
        seen.append(book_execution.fingerprint(tmp_path))
        return seen[-1] != seen[-2]

    (tmp_path / "README.md").touch()
    (tmp_path / "lib" / "__pycache__").mkdir()
    (tmp_path / "lib" / "__pycache__" / "masks.pyc").touch()
    assert not changed()
    source.write_text("a = 2", encoding="utf-8")
    assert changed()
    source.rename(tmp_path / "lib" / "moments.py")
    assert changed()
    (tmp_path / "requirements.txt").write_text("numpy==2.4.7", encoding="utf-8")
    assert changed()
    results = tmp_path / "book" / "part" / "results"
    results.mkdir(parents=True)
    for name in ("one.csv", "one.png"):
        (results / name).write_text("1,2", encoding="utf-8")
        assert changed()
    for name in ("one.lock", "one.part"):
        (results / name).touch()
        assert not changed()


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
    text = (ROOT / path).read_text(encoding="utf-8")
    return dict(re.findall(r"^([\w-]+)==([\w.]+)", text, re.MULTILINE))


def test_requirements_are_pinned_and_binder_has_the_same():
    text = (ROOT / "requirements.txt").read_text(encoding="utf-8")
    lines = [line for line in text.splitlines() if line]
    required = pins("requirements.txt")
    assert len(required) == len([line for line in lines if not line.startswith("#")])
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    binder = pins("binder/requirements.txt")
    assert set(project["dependencies"]) <= set(binder)
    for package in binder.keys() & required.keys():
        assert binder[package] == required[package], package
    constraints = {name.lower(): version for name, version in pins("constraints.txt").items()}
    for package, version in required.items():
        assert constraints[package.lower()] == version, "write constraints.txt anew"
