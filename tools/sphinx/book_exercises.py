"""Sphinx extension: show solutions without the markers that nbgrader cuts by."""

from docutils import nodes

MARKERS = ("### BEGIN SOLUTION", "### END SOLUTION")


def drop_markers(app, doctree):
    """Remove the marker lines from every code block."""
    for block in doctree.findall(nodes.literal_block):
        lines = block.astext().splitlines()
        kept = [line for line in lines if line.strip() not in MARKERS]
        if len(kept) < len(lines):
            block.rawsource = "\n".join(kept)
            block.children = [nodes.Text(block.rawsource)]


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("doctree-read", drop_markers)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
