"""One style sheet in place of many: the rules that the book's pages can use, and no others.

A rule can be used where each of its selector's classes, ids and tags occurs: on a page, or in a
script that writes it there. (What a browser finds out only later, as `:hover` or an attribute's
value, is taken as given.)
"""

import posixpath
import re

import tinycss2

IMPORT = re.compile(r'@import "([^"]+)";')
URL = re.compile(r"""url\((?!["']?(?:data|https?):)["']?([^"')]+)["']?\)""")
PROPERTY = re.compile(r"""(?<=[{;])--([\w-]+):(?:"[^"]*"|'[^']*'|[^;{}"'])*(?:;|(?=\}))""")
MOTION = re.compile(r"@(?:-\w+-)?keyframes ([\w-]+)\{(?:[^{}]*\{[^{}]*\})*[^{}]*\}")
NESTING = ("media", "supports")


def read(static, sheet):
    """Return a sheet's text with what it imports; its paths are seen from the folder `static`."""
    folder = posixpath.dirname(sheet)

    def place(path):
        return posixpath.normpath(posixpath.join(folder, path))

    text = (static / sheet).read_text(encoding="utf-8")
    text = URL.sub(lambda found: f"url({place(found[1])})", text)
    return IMPORT.sub(lambda found: read(static, place(found[1])), text)


def names(selector):
    """Return the classes, ids and tags without which a selector (a list of tokens) fits nothing."""
    found, before = set(), ""
    for token in selector:
        if token.type == "hash" or (token.type == "ident" and before != ":"):
            found.add(token.value)
        before = token.value if token.type == "literal" else ""
    return found


def split(tokens):
    """Split a list of tokens at its commas."""
    parts = [[]]
    for token in tokens:
        if token == ",":
            parts.append([])
        else:
            parts[-1].append(token)
    return parts


def used_rules(rules, words):
    """Yield the text of the rules that can be used where `words` are all the names there are."""
    for rule in rules:
        if rule.type == "qualified-rule":
            selectors = [part for part in split(rule.prelude) if names(part) <= words]
            if selectors:
                selector = ",".join(tinycss2.serialize(part).strip() for part in selectors)
                yield f"{selector}{{{tinycss2.serialize(rule.content).strip()}}}"
        elif rule.type == "at-rule" and rule.content is not None:
            content = tinycss2.serialize(rule.content)
            if rule.lower_at_keyword in NESTING:
                inner = tinycss2.parse_rule_list(rule.content, skip_whitespace=True)
                content = "".join(used_rules(inner, words))
            if content:
                yield f"@{rule.at_keyword}{tinycss2.serialize(rule.prelude).rstrip()}{{{content}}}"


def reduce(css, words):
    """Return the part of a style sheet that is used where `words` are all the names there are."""
    tokens = tinycss2.parse_component_value_list(css, skip_comments=True)
    rules = tinycss2.parse_stylesheet(tokens, skip_whitespace=True)
    css = "".join(used_rules(rules, words))
    before = None
    while css != before:  # what a dropped property needed may be dropped in turn
        before = css
        asked = set(re.findall(r"var\(\s*--([\w-]+)", css)) | words
        css = PROPERTY.sub(lambda found: found[0] if found[1] in asked else "", css)  # noqa: B023
    still = MOTION.sub("", css)
    return MOTION.sub(lambda found: found[0] if found[1] in still else "", css)
