"""Sphinx extension: mends what Jupyter Book writes into every page.

Nothing is left of Thebe: it would fetch its program and a kernel from the network, and it declares
its settings twice, which is an error in every browser. The theme's list of versions, which we have
none of, asks for the page's name before there is a place for it. A folded cell is called by the
words that it shows, the empty corner of a table is no heading, and a bibliography is a list. The
page is dark from the start where the reader's system is. The index of modules is short: nothing
folds in it. (What else the theme brings along is mended in book/_templates, book.css and book.js.)
"""

import re

THEBE_SETTINGS = re.compile(r'<script type="text/x-thebe-config">.*?</script>', re.DOTALL)
OTHER_NAME = ' aria-label="Toggle hidden content"'
FOLDS = 1  # the kind of an entry in the index of modules that has others below it
CORNER = re.compile(r"<th(\s[^>]*)?>((?:\s|</?p>)*)</th>")
THEBE_KERNEL = re.compile(r"<script>kernelName = .*?</script>", re.DOTALL)

# Before the theme's script, which looks for the choice of the last visit.
AUTO_THEME = """
<script>
  if ((localStorage.getItem("mode") || "auto") == "auto") {
    const dark = matchMedia("(prefers-color-scheme: dark)").matches;
    localStorage.setItem("mode", "auto");
    localStorage.setItem("theme", dark ? "dark" : "light");
  }
</script>
"""


def is_useless(asset):
    """Whether a script or a style sheet belongs to Thebe, or to the theme's list of versions."""
    body = getattr(asset, "attributes", {}).get("body", "")
    about = f"{getattr(asset, 'filename', asset)} {body}".lower()
    return "thebe" in about or "pagename" in about


def mend(app, pagename, templatename, context, doctree):
    """Change what a page's template gets."""
    for assets in ("script_files", "css_files"):
        context[assets] = [asset for asset in context[assets] if not is_useless(asset)]
    context["metatags"] = context.get("metatags", "") + AUTO_THEME
    if templatename == "domainindex.html":
        context["collapse_index"] = False
        context["content"] = [
            (letter, [(name, 0 if kind == FOLDS else kind, *rest) for name, kind, *rest in entries])
            for letter, entries in context["content"]
        ]
    if body := context.get("body"):
        for settings in (THEBE_SETTINGS, THEBE_KERNEL):
            body = settings.sub("", body)
        body = CORNER.sub(r"<td\1></td>", body.replace(OTHER_NAME, ""))
        context["body"] = body.replace('role="doc-biblioentry"', 'role="listitem"')


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("html-page-context", mend, priority=900)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
