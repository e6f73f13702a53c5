"""Sphinx extension: exercises and proofs in the whole book on one page, which becomes its PDF."""


def share_visitors(app):
    """Let a builder of HTML that some extension knows by name use what all know for HTML."""
    handlers = app.registry.translation_handlers
    if app.builder.format == "html" and app.builder.name in handlers:
        handlers[app.builder.name] = handlers["html"] | handlers[app.builder.name]


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("builder-inited", share_visitors)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
