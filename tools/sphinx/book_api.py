"""Sphinx extension: what the API page leaves out.

The fields of a named tuple are explained in its docstring, and `forward` in its layer's: their own
entries would say "Alias for field number 0", and repeat torch's general remarks.
"""


def skip(app, what, name, obj, skip, options):
    """Whether autodoc leaves a member out; None leaves the choice to others."""
    is_field = type(obj).__name__ == "_tuplegetter"
    is_undocumented = name in ("forward", "extra_repr") and not (obj.__doc__ or "").strip()
    return True if is_field or is_undocumented else None


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("autodoc-skip-member", skip)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
