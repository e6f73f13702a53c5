"""House rules of the notebooks, and a proof that their stored outputs are really compared."""

import ast
import re
import sys

import notebooks as runner
import pytest
import yaml
from commands import call
from nbformat.v4 import new_code_cell, new_markdown_cell, new_notebook, new_output
from repository import NOTEBOOKS, ROOT, markdown_of, name, read, text_of, write

from lib.experiments import EXPERIMENTS
from lib.plotting.moving import MIN_ALT

IN_PARTS = [path for path in NOTEBOOKS if path.parent != ROOT / "book"]  # not the landing page
RESULTS = ROOT / "book" / "reproductions" / "results.ipynb"  # a page to look things up in
BESIDE = ("exercises", "further", "results")  # what is no lesson
LESSONS = [path for path in IN_PARTS if path.stem not in BESIDE]
PAGES = NOTEBOOKS + sorted((ROOT / "book").rglob("*.md"))

MAX_LINES = 40
MAX_OUTPUT = 20_000
OUTSIDE = re.compile(
    r"(?m)^\s*[!%]|\bpip3? install\b|subprocess|os\.system|urlopen|urlretrieve|requests\.|"
    r"fetch_openml|download=True"
)
MARKDOWN_IMAGE = re.compile(r"!\[([^\]]*)\]\(")
IMAGE_DIRECTIVE = re.compile(r"^(`{3,}|:{3,})\{(?:image|figure)\}.*\n((?:.*\n)*?)\1", re.MULTILINE)
ALT_OPTION = re.compile(r"^:alt: *(.*)$", re.MULTILINE)
DROPDOWN = re.compile(r"^(:{3,})\{dropdown\} *(.*)\n((?:.*\n)*?)\1\s*$", re.MULTILINE)


def numbered(notebook, kind):
    """Pairs of a cell's place in the notebook, counted from 1, and the cell."""
    return [(i, c) for i, c in enumerate(notebook.cells, start=1) if c.cell_type == kind]


def tags(cell):
    return set(cell.metadata.get("tags", []))


def moves(output):
    """Whether it is a figure with a slider: its alt text is an argument of its own."""
    return output.get("data", {}).get("text/plain", "").startswith("<MovingFigure")


def is_figure(output):
    data = output.get("data", {})
    drawn = data.get("text/plain", "").startswith("<Figure size")
    return drawn or moves(output) or any(mime.startswith("image/") for mime in data)


# Each rule yields what is wrong, with the cell's number.


def figures_are_described(notebook):
    for i, cell in numbered(notebook, "code"):
        figures = [output for output in cell.outputs if is_figure(output)]
        if not figures:
            continue
        mystnb = cell.metadata.get("mystnb", {})
        caption = mystnb.get("figure", {}).get("caption", "").strip()
        alt = mystnb.get("image", {}).get("alt", "").strip()
        if not caption:
            yield f"cell {i}: a figure without a caption (mystnb.figure.caption)"
        if len(alt) < MIN_ALT and not all(map(moves, figures)):
            yield f"cell {i}: a figure needs an alt text of {MIN_ALT} characters (mystnb.image.alt)"
        if alt and alt == caption:
            yield f"cell {i}: the alt text repeats the caption; say what one sees"


def pictures_are_described(notebook):
    for i, cell in numbered(notebook, "markdown"):
        alts = MARKDOWN_IMAGE.findall(cell.source)
        for _, options in IMAGE_DIRECTIVE.findall(cell.source + "\n"):
            alts += ALT_OPTION.findall(options) or [""]
        for alt in alts:
            if len(alt.strip()) < MIN_ALT:
                yield f"cell {i}: a picture needs an alt text of {MIN_ALT} characters, not {alt!r}"


def outputs_are_text(notebook):
    for i, cell in numbered(notebook, "code"):
        for output in cell.outputs:
            if any(mime.startswith("image/") for mime in output.get("data", {})):
                yield f"cell {i}: image data is stored; run `make outputs`"
            if output.get("name") == "stderr":
                yield f"cell {i}: wrote to stderr: {output.text[:80]!r}"
            if output.output_type == "error" and "raises-exception" not in tags(cell):
                yield f"cell {i}: failed with {output.ename}"
            if len(str(output)) > MAX_OUTPUT:
                yield f"cell {i}: an output of more than {MAX_OUTPUT} characters"


def cells_were_run_in_order(notebook):
    for count, (i, cell) in enumerate(numbered(notebook, "code"), start=1):
        if cell.execution_count != count:
            yield f"cell {i}: has not been run in order from a fresh kernel; run `make outputs`"


def nothing_comes_from_outside(notebook):
    for i, cell in numbered(notebook, "code"):
        if match := OUTSIDE.search(cell.source):
            yield f"cell {i}: {match[0].strip()!r}: nothing is installed, downloaded or shelled out"


def first_cell_only_imports(notebook):
    for i, cell in numbered(notebook, "code")[:1]:
        statements = ast.parse(cell.source).body
        if not all(isinstance(each, ast.Import | ast.ImportFrom) for each in statements):
            yield f"cell {i}: the first code cell holds imports, and nothing else"


def cells_are_short(notebook):
    for i, cell in numbered(notebook, "code"):
        if (lines := len(cell.source.splitlines())) > MAX_LINES:
            yield f"cell {i}: {lines} lines; at most {MAX_LINES}"


def ignored_outputs_are_followed_by_a_claim(notebook):
    cells = numbered(notebook, "code")
    for position, (i, cell) in enumerate(cells):
        if "nbval-skip" in tags(cell) or "NBVAL" in cell.source:
            yield f"cell {i}: every cell runs in the tests, and is marked by tags only"
        if "nbval-ignore-output" not in tags(cell):
            continue
        if any(is_figure(output) for output in cell.outputs):
            yield f"cell {i}: nbval-ignore-output is for cells that print numbers"
        if "timeit" in cell.source:  # seconds differ from one run to the next: no claim is made
            continue
        following = [c for _, c in cells[position + 1 :] if "nbval-ignore-output" not in tags(c)]
        if not any(re.search(r"\b(claim\(|assert )", c.source) for c in following[:2]):
            yield f"cell {i}: its output is not compared, and no claim follows"


def kernel_is_python3(notebook):
    if notebook.metadata.get("kernelspec", {}).get("name") != "python3":
        yield "the notebook's kernel is not python3; run `make outputs`"


def lesson_has_its_parts(notebook):
    """The anatomy of a lesson: opening, summary, quiz."""
    markdown = [c.source for c in notebook.cells if c.cell_type == "markdown"]
    opening, text = (markdown or [""])[0], "\n\n".join(markdown) + "\n"
    if not re.match(r"# \S", opening):
        yield "cell 1: does not begin with the page's title"
    for phrase in ("You will be able to", "Before you start", "Time to run"):
        if phrase not in opening:
            yield f"cell 1: does not say {phrase!r}"
    if not 3 <= len(re.findall(r"^- ", opening, re.MULTILINE)) <= 5:
        yield "cell 1: three to five things that the reader will be able to do"
    summary, quiz = text.rfind("\n## In short\n"), text.rfind("\n## Quiz\n")
    if summary < 0:
        yield "no heading 'In short'"
    if quiz < max(summary, 0):
        yield "no heading 'Quiz' after 'In short'"
        return
    questions = DROPDOWN.findall(text[quiz:])
    if len(questions) != 3:
        yield f"the quiz has {len(questions)} questions, each a dropdown; it takes three"
    for _, question, answer in questions:
        if not question.strip() or len(answer.split()) < 10:
            yield f"the quiz's question {question!r} lacks an explained answer"
    if not re.search(r"\((\.\./\w+/)?exercises\)", text[max(summary, 0) :]):
        yield "no link to exercises after 'In short'"


def lesson_folds_drawing_and_what_leads_to_the_first_picture(notebook):
    drawn = False
    for i, cell in numbered(notebook, "code"):
        hidden = {tag for tag in tags(cell) if tag.startswith(("hide-", "remove-"))}
        draws = any(map(is_figure, cell.outputs))
        if draws and hidden != {"hide-input"}:
            yield f"cell {i}: drawing is folded (hide-input)"
        if hidden and not draws and (drawn or hidden != {"hide-input"}):
            yield f"cell {i}: {hidden.pop()}: behind the first picture only drawing is folded"
        drawn = drawn or draws


PAGES_OF_RULES = {
    figures_are_described: NOTEBOOKS,
    outputs_are_text: NOTEBOOKS,
    cells_were_run_in_order: NOTEBOOKS,
    nothing_comes_from_outside: NOTEBOOKS,
    cells_are_short: NOTEBOOKS,
    ignored_outputs_are_followed_by_a_claim: NOTEBOOKS,
    kernel_is_python3: NOTEBOOKS,
    first_cell_only_imports: IN_PARTS,
    pictures_are_described: PAGES,
    lesson_has_its_parts: LESSONS,
    lesson_folds_drawing_and_what_leads_to_the_first_picture: LESSONS,
}


@pytest.mark.parametrize(
    ("rule", "path"),
    [
        pytest.param(rule, path, id=f"{rule.__name__}-{name(path)}")
        for rule, paths in PAGES_OF_RULES.items()
        for path in paths
    ],
)
def test_page_follows_the_rule(rule, path):
    problems = list(rule(read(path)))
    assert not problems, "\n".join(["", *(f"{name(path)}: {problem}" for problem in problems)])


def test_every_page_is_in_the_table_of_contents():
    toc = yaml.safe_load(text_of("_toc.yml"))
    chapters = [chapter["file"] for part in toc["parts"] for chapter in part["chapters"]]
    pages = {path.relative_to(ROOT).with_suffix("").as_posix() for path in PAGES}
    assert {toc["root"], *chapters} == pages


def test_results_have_a_section_for_each_experiment_and_the_overview_says_the_same():
    text = markdown_of(RESULTS)
    overview = dict(re.findall(r"(?m)^\| \[.*\]\(results-([\w-]+)\) .* (\w+) \|$", text))
    section = r"(?m)^\(results-([\w-]+)\)=\n(?:(?!^\().*\n)*?.*Reproduced: (\w+)"
    sections = dict(re.findall(section, text))
    experiments = [name for name in EXPERIMENTS if name != "digits-compared"]  # a page of its own
    assert list(overview) == list(sections) == experiments
    assert overview == sections
    assert set(overview.values()) <= {"yes", "partly", "no", "undecided"}


def test_every_paper_of_the_bibliography_is_cited():
    bibliography = text_of("book/references.bib")
    roles = re.findall(r"\{cite:\w+\}`([^`]+)`", "\n".join(map(markdown_of, PAGES)))
    cited = {key.strip() for keys in roles for key in keys.split(",")}
    assert set(re.findall(r"^@\w+\{(.+),$", bibliography, re.MULTILINE)) == cited


# The rules themselves: each must find its fault.


def described(caption="Lines.", alt=""):
    return {"mystnb": {"figure": {"caption": caption}, "image": {"alt": alt}}}


ALT = "Two lines that cross at one half: the rate at which both methods agree."
FIGURE = new_output("display_data", data={"text/plain": "<Figure size 640x480 with 1 Axes>"})
MOVING = new_output(
    "execute_result", data={"text/plain": "<MovingFigure: keep probability from 0 to 1, 3 frames>"}
)
PICTURE = new_output("display_data", data={"image/png": "aGk=", "text/plain": "<Figure size 1x1>"})
IGNORE = {"tags": ["nbval-ignore-output"]}
PRINTED = new_output("stream", text="0.93\n")

LESSON = """# Dropout

:::{admonition} You will be able to
- draw
- compute
- explain
:::

**Before you start:** nothing. **Time to run:** 1 second.

## In short

- It is a mask.

[Exercises](exercises)

## Quiz
"""
QUESTION = """
:::{dropdown} Question?
Because a dropped unit sends zero, and zero times any weight is zero.
:::
"""
LACKING = ":::{dropdown} Why?\nYes.\n:::\n"


def code(source="1 + 1", *outputs, count=1, **metadata):
    return new_code_cell(source, outputs=list(outputs), metadata=metadata, execution_count=count)


# For each rule: cells, or the text of one, and a part of what is found; None if all is well.
FAULTS = {
    figures_are_described: [
        (code("plot()", FIGURE, **described(alt=ALT)), None),
        (code("plot()", FIGURE), "caption"),
        (code("plot()", PICTURE, **described()), "alt"),
        (code("plot()", MOVING, **described()), None),
        (code("plot()", MOVING), "caption"),
        (code("plot()", FIGURE, **described(alt="Short.")), "40"),
        (code("plot()", FIGURE, **described(caption=ALT, alt=ALT)), "repeats"),
    ],
    pictures_are_described: [
        ("![a net](net.png)", "a net"),
        (f"![{'a net ' * 10}](net.png)", None),
        (":::{figure} net.png\nA net.\n:::", "''"),
        (f"```{{image}} net.png\n:alt: {'a net ' * 10}\n```", None),
    ],
    outputs_are_text: [
        (code("plot()", PICTURE), "image data"),
        (code("warn()", new_output("stream", name="stderr", text="!")), "'!'"),
        (code("fail()", new_output("error", ename="KeyError")), "KeyError"),
        (code("plot()", FIGURE, PRINTED), None),
    ],
    cells_were_run_in_order: [
        ([code(), code(count=2)], None),
        ([code(), code(count=None)], "cell 2"),
    ],
    nothing_comes_from_outside: [
        (code("!pip install torch"), "cell 1"),
        (code("%pip install torch"), "cell 1"),
        (code("urllib.request.urlopen('x')"), "urlopen"),
        (code("a % b != c"), None),
    ],
    first_cell_only_imports: [
        (code("import numpy as np\n\nx = 1"), "imports"),
        (code("import numpy as np\nfrom lib import masks"), None),
    ],
    cells_are_short: [(code("x = 1\n" * 41), "41 lines")],
    ignored_outputs_are_followed_by_a_claim: [
        ([code("1 + 1", PRINTED, **IGNORE), code("assert True")], None),
        ([code("1 + 1", PRINTED, **IGNORE), code("print(1)")], "no claim follows"),
        ([code("1 + 1", FIGURE, **IGNORE), code("assert True")], "print numbers"),
        ([code("timeit.timeit(f)", PRINTED, **IGNORE), code("print(1)")], None),
        (code(tags=["nbval-skip"]), "every cell runs"),
    ],
    kernel_is_python3: [([], "python3")],
    lesson_has_its_parts: [
        ("# Dropout\n\nA page.", "In short"),
        (LESSON + 3 * QUESTION, None),
        (LESSON + 2 * QUESTION, "2 questions"),
        (LESSON + 2 * QUESTION + LACKING, "lacks"),
        (LESSON.replace("Time to run", "Time") + 3 * QUESTION, "Time to run"),
        (LESSON.replace("(exercises)", "(index)") + 3 * QUESTION, "link"),
        (LESSON.replace("## Quiz", "## Questions") + 3 * QUESTION, "no heading 'Quiz'"),
    ],
    lesson_folds_drawing_and_what_leads_to_the_first_picture: [
        (code("plot()", FIGURE), "drawing is folded"),
        (code("plot()", FIGURE, tags=["hide-input"]), None),
        (code(tags=["hide-input"]), None),
        ([code("plot()", FIGURE, tags=["hide-input"]), code(tags=["hide-input"])], "behind"),
        (code(tags=["remove-cell"]), "remove-cell"),
    ],
}


@pytest.mark.parametrize(
    ("rule", "cells", "fault"), [(rule, *case) for rule, cases in FAULTS.items() for case in cases]
)
def test_rule_finds_its_fault(rule, cells, fault):
    if isinstance(cells, str):
        cells = new_markdown_cell(cells)
    problems = list(rule(new_notebook(cells=cells if isinstance(cells, list) else [cells])))
    if fault is None:
        assert problems == []
    else:
        assert any(fault in problem for problem in problems), problems


def test_every_rule_is_seen_to_find_a_fault():
    assert FAULTS.keys() == PAGES_OF_RULES.keys()


def test_what_was_printed_in_pieces_is_stored_as_one_output():
    pieces = [new_output("stream", text=text) for text in ("one ", "line\n")]
    notebook = new_notebook(cells=[code("1 + 1", *pieces, FIGURE, PRINTED)])
    runner.clean(notebook)
    whole, *others = notebook.cells[0].outputs
    assert whole.text == "one line\n"
    assert others == [FIGURE, PRINTED]


@pytest.fixture(scope="module")
def stored(tmp_path_factory):
    """A small notebook with stored outputs, and a folder where pytest runs with our settings."""
    folder = tmp_path_factory.mktemp("stored")
    (folder / "conftest.py").write_bytes((ROOT / "conftest.py").read_bytes())
    settings = f'[pytest]\npythonpath = "{ROOT / "tools"}"\n'
    (folder / "pytest.ini").write_text(settings, encoding="utf-8")
    path = folder / "same.ipynb"
    write(
        path,
        new_code_cell("import matplotlib.pyplot as plt"),
        new_code_cell("print(f'kept: {0.25:.2f}')"),
        new_code_cell("plt.plot([1, 2]);", metadata=described(alt=ALT)),
        new_code_cell("import time\nprint(time.time())", metadata=IGNORE),
        new_code_cell(
            "from lib.plotting import MovingFigure\n"
            "MovingFigure(lambda fig, p: fig.subplots(), [1, 2], label='p', alt=40 * 'a')"
        ),
    )
    runner.run(path)
    return path


@pytest.mark.slow
def test_stored_outputs_hold_no_image_data(stored):
    notebook = read(stored)
    assert notebook.cells[2].outputs[0].data == {"text/plain": "<Figure size 640x480 with 1 Axes>"}
    assert set(notebook.cells[4].outputs[0].data) == {"text/plain"}
    for rule in (outputs_are_text, cells_were_run_in_order, kernel_is_python3):
        assert not list(rule(notebook))


@pytest.mark.slow
def test_a_changed_number_fails(stored):
    """Strict comparison: 0.25 stored as 0.26 fails, and the rest of the notebook passes."""
    text = text_of(stored)
    assert "kept: 0.25" in text
    changed = stored.with_name("changed.ipynb")
    changed.write_text(text.replace("kept: 0.25\\n", "kept: 0.26\\n"), encoding="utf-8")
    options = ["--nbval", "-rA", "-p", "no:xdist", "-p", "no:cacheprovider"]
    _, log = call(sys.executable, "-m", "pytest", *options, changed, cwd=stored.parent)
    outcomes = re.findall(r"^(PASSED|FAILED) (\w+\.ipynb::Cell \d)", log, re.MULTILINE)
    assert set(outcomes) == {
        ("PASSED" if i != 1 else "FAILED", f"changed.ipynb::Cell {i}") for i in range(5)
    }
    assert "0.26" in log
