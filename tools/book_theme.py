"""Sphinx extension: mends what Jupyter Book writes into every page.

Nothing is left of Thebe: it would fetch its program and a kernel from the network, and it declares
its settings twice, which is an error in every browser. A folded cell is called by the words that it
shows, the empty corner of a table is no heading, and a bibliography is a list. (What the theme
brings along is mended in book/_templates, book.css and book.js.)
"""

import re

THEBE_SETTINGS = re.compile(r'<script type="text/x-thebe-config">.*?</script>', re.DOTALL)
OTHER_NAME = ' aria-label="Toggle hidden content"'
CORNER = re.compile(r"<th(\s[^>]*)?>((?:\s|</?p>)*)</th>")
THEBE_KERNEL = re.compile(r"<script>kernelName = .*?</script>", re.DOTALL)


def is_thebe(asset):
    """Whether a script or a style sheet belongs to Thebe."""
    settings = getattr(asset, "attributes", {}).get("body", "")
    return "thebe" in f"{getattr(asset, 'filename', asset)} {settings}".lower()


def mend(app, pagename, templatename, context, doctree):
    """Change what a page's template gets."""
    for assets in ("script_files", "css_files"):
        context[assets] = [asset for asset in context[assets] if not is_thebe(asset)]
    if body := context.get("body"):
        for settings in (THEBE_SETTINGS, THEBE_KERNEL):
            body = settings.sub("", body)
        body = CORNER.sub(r"<td\1></td>", body.replace(OTHER_NAME, ""))
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
