"""Sphinx extension: the page of all claims, part by part, each with a link to where it is checked.

A claim (`lib.claims`) that holds leaves a line in its notebook's stored outputs, and the tests
compare these with a fresh run: so this page lists what was checked, in the words of the pages.
"""

import nbformat
import yaml
from docutils import nodes
from sphinx.addnodes import pending_xref
from sphinx.util.docutils import SphinxDirective
from sphinx.util.nodes import make_id

MARK = "✓ "
SCHEME = "claim:"  # until the builder says how pages are addressed: claim:page#anchor


def claims_of(path):
    """List the sentences that a notebook claims, in their order.

    Parameters
    ----------
    path : pathlib.Path
        A notebook with its stored outputs.

    Returns
    -------
    list of str
    """
    outputs = (
        output
        for cell in nbformat.read(path, as_version=4).cells
        if cell.cell_type == "code"
        for output in cell.outputs
    )
    lines = (output.get("data", {}).get("text/plain", "") for output in outputs)
    return [line.removeprefix(MARK) for line in lines if line.startswith(MARK)]


def claims_by_part(root):
    """Go through the parts of the table of contents.

    Parameters
    ----------
    root : pathlib.Path
        The folder of ``_toc.yml``.

    Yields
    ------
    caption : str
        Of the part.
    pages : dict of str to list of str
        The claims of each page that makes any.
    """
    toc = yaml.safe_load((root / "_toc.yml").read_text(encoding="utf-8"))
    for part in toc["parts"]:
        paths = {page["file"]: root / f"{page['file']}.ipynb" for page in part["chapters"]}
        claims = {name: claims_of(path) for name, path in paths.items() if path.exists()}
        if pages := {name: sentences for name, sentences in claims.items() if sentences}:
            yield part["caption"], pages


class Claims(SphinxDirective):
    """``{book-claims}``: a section a part, a list a page."""

    def run(self):
        sections = []
        for caption, pages in claims_by_part(self.env.app.srcdir):
            title = nodes.title(caption, caption)
            sections.append(nodes.section("", title, ids=[make_id(self.env, self.state.document)]))
            for name, sentences in pages.items():
                self.env.note_dependency(f"{name}.ipynb")
                sections[-1] += [self.link_to(name), self.list_of(name, sentences)]
        return sections

    def link_to(self, name):
        link = pending_xref(
            refdomain="std",
            reftype="doc",
            reftarget=f"/{name}",
            refdoc=self.env.docname,
            refexplicit=False,
            refwarn=True,
        )
        link += nodes.inline("", name)
        return nodes.paragraph("", "", link)

    def list_of(self, name, sentences):
        from lib.claims import anchor  # of the book's own library: a book without claims needs none

        links = (
            nodes.reference("", sentence, refuri=f"{SCHEME}{name}#{anchor(sentence)}")
            for sentence in sentences
        )
        items = (nodes.list_item("", nodes.paragraph("", "", link)) for link in links)
        return nodes.bullet_list("", *items, classes=["claims"])


def address(app, doctree, docname):
    """Turn the links to claims into those of the builder: many pages, or a single one."""
    for link in doctree.findall(nodes.reference):
        if link.get("refuri", "").startswith(SCHEME):
            page, place = link["refuri"].removeprefix(SCHEME).split("#")
            single = app.builder.name == "singlehtml"
            before = "" if single else app.builder.get_relative_uri(docname, page)
            link["refuri"] = f"{before}#{place}"


def setup(app):
    """Register the extension with Sphinx."""
    app.add_directive("book-claims", Claims)
    app.connect("doctree-resolved", address)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
