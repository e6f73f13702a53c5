"""The page of all claims has every claim of every page."""

import ast
import re

import book_claims
import pytest
import yaml
from nbformat.v4 import new_code_cell, new_markdown_cell, new_output
from notebooks import KERNEL
from repository import NOTEBOOKS, ROOT, code_cells, name, put, text_of, write
from sphinx.application import Sphinx
from sphinx.util.docutils import docutils_namespace, patch_docutils

from lib.claims import Verdict


def shown(text, html=""):
    return new_output("display_data", {"text/plain": text, "text/html": html})


def test_claims_are_read_from_what_was_shown(tmp_path):
    write(
        tmp_path / "a.ipynb",
        new_markdown_cell("✓ not this"),
        new_code_cell("claim(...)", outputs=[shown("✓ one"), new_output("stream", text="✓ nor")]),
        new_code_cell("claim(...)", outputs=[shown("✗ does not hold here: two"), shown("✓ three")]),
    )
    assert book_claims.claims_of(tmp_path / "a.ipynb") == ["one", "three"]


def test_pages_come_in_the_order_of_the_table_of_contents(tmp_path):
    for page, claims in {"b": ["of b"], "a": ["of a", "more of a"], "c": []}.items():
        outputs = [shown(f"✓ {claim}") for claim in claims]
        write(tmp_path / f"{page}.ipynb", new_code_cell(outputs=outputs))
    chapters = [[{"file": "b"}, {"file": "c"}], [{"file": "markdown"}, {"file": "a"}]]
    parts = [{"caption": f"part {i}", "chapters": each} for i, each in enumerate(chapters)]
    put(tmp_path, {"_toc.yml": yaml.safe_dump({"parts": parts})})
    assert list(book_claims.claims_by_part(tmp_path)) == [
        ("part 0", {"b": ["of b"]}),
        ("part 1", {"a": ["of a", "more of a"]}),
    ]


def calls(cell):
    """How many calls of `claim` stand in a cell."""
    nodes = ast.walk(ast.parse(cell.source))
    return sum(isinstance(n, ast.Call) and getattr(n.func, "id", "") == "claim" for n in nodes)


@pytest.mark.parametrize("path", NOTEBOOKS, ids=name)
def test_every_claim_of_a_page_was_shown_and_is_said_once(path):
    claims = book_claims.claims_of(path)
    assert len(claims) >= sum(map(calls, code_cells(path)))  # one in a loop is shown several times
    assert len(claims) == len(set(claims))


def test_every_page_with_claims_is_on_the_page_of_claims():
    listed = {f"{page}.ipynb" for _, pages in book_claims.claims_by_part(ROOT) for page in pages}
    claiming = {name(path) for path in NOTEBOOKS if book_claims.claims_of(path)}
    assert claiming <= listed | {"book/index.ipynb"}


@pytest.mark.slow
def test_a_link_of_the_page_of_claims_leads_to_its_claim(tmp_path):
    sentence = 'units > 1 & "kept"'
    output = shown(f"✓ {sentence}", Verdict(sentence, True)._repr_html_())
    text = "# Claims\n\n```{toctree}\npart/a\n```\n\n```{book-claims}\n```\n"
    toc = {"parts": [{"caption": "one", "chapters": [{"file": "part/a"}]}]}
    put(tmp_path, {"_toc.yml": yaml.safe_dump(toc), "index.md": text})
    cells = [new_markdown_cell("# A"), new_code_cell("claim", outputs=[output])]
    write(tmp_path / "part" / "a.ipynb", *cells, **KERNEL)
    settings = {"extensions": ["myst_nb", "book_claims"], "nb_execution_mode": "off"}
    out = tmp_path / "out"
    with patch_docutils(), docutils_namespace():
        app = Sphinx(tmp_path, None, out, out, "html", settings, status=None, warningiserror=True)
        app.build()
    link = re.search(r'href="([^"#]+)#(claim-\w+)"', text_of(out / "index.html"))
    assert f'id="{link[2]}"' in text_of(out / link[1])
