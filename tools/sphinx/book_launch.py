"""Sphinx extension: buttons to the repository and to Binder, once the book has an address.

The address is `repository: url` of _config.yml. Where that is empty, the environment variable
BOOK_REPOSITORY is asked, which the publishing workflow sets. With neither the buttons are off: a
button that leads nowhere is worse than none.
"""

import os

BINDER = {"binderhub_url": "https://mybinder.org", "notebook_interface": "jupyterlab"}


def set_address(app, config):
    """Turn the theme's buttons on."""
    options = config.html_theme_options
    address = options.get("repository_url") or os.environ.get("BOOK_REPOSITORY", "")
    if address:
        buttons = {"use_repository_button": True, "use_issues_button": True}
        options |= {"repository_url": address.rstrip("/"), "launch_buttons": BINDER, **buttons}


def setup(app):
    """Register the extension with Sphinx."""
    app.connect("config-inited", set_address, priority=100)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
