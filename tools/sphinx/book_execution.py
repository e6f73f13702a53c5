"""Sphinx extension: execute the book's notebooks on all cores, and never show a stale result.

MyST-NB keeps executed notebooks in a cache, keyed on their code cells alone. Here the cache's
folder is named after a fingerprint of everything else a result depends on. When ``lib`` changes,
the folder changes: every page is read again, and every notebook is executed again. A build during
which one of these files was touched fails, and keeps nothing: what its kernels saw is not known.
"""

import hashlib
import os
import platform
import shutil
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import kernels
import nbformat
from filelock import FileLock, Timeout
from jupyter_cache import get_cache
from jupyter_cache.base import CacheBundleIn
from jupyter_cache.executors.utils import single_nb_execution
from sphinx.errors import SphinxError
from sphinx.util import logging

logger = logging.getLogger(__name__)

# What a notebook's outputs depend on besides its own cells.
SOURCES = (
    "requirements.txt",
    "constraints.txt",
    "lib/**/*",
    "book/**/results/*.csv",
    "book/**/results/*.png",
)
# What a page's looks depend on besides its text.
LOOKS = ("tools/sphinx/*.py", "book/_static/**/*")
MAX_KERNELS = 4


def files(root, patterns=SOURCES):
    """List the files under `root` that fit the patterns, sorted."""
    found = sorted(path for pattern in patterns for path in Path(root).glob(pattern))
    return [path for path in found if path.is_file() and "__pycache__" not in path.parts]


def fingerprint(root, patterns=SOURCES):
    """Return a hash of the names and contents of all files under `root` that fit the patterns."""
    digest = hashlib.sha256()
    for path in files(root, patterns):
        digest.update(f"{path.relative_to(root).as_posix()}\n".encode())
        digest.update(hashlib.sha256(path.read_bytes()).digest())
    return digest.hexdigest()[:16]


def touched(root):
    """When each source was last written or renamed: an edit that is undone shows as well."""
    return {path.relative_to(root).as_posix(): path.stat().st_ctime_ns for path in files(root)}


def wait_for_other_builds(app):
    """Let one build at a time work in a folder; the lock is given back with the process."""
    app.book_lock = FileLock(Path(app.outdir).parent / ".lock")
    try:
        app.book_lock.acquire(timeout=0)
    except Timeout:
        logger.info("another build of this book is running: waiting for its end")
        app.book_lock.acquire()


def choose_cache(app, config):
    """Point MyST-NB to the cache of the present sources, and drop the others.

    Sphinx reads every page again when this setting differs from the last build's, and also when
    there is no cache of this name: what it remembers is then of a build that did not come to its
    end.
    """
    wait_for_other_builds(app)
    app.book_touched = touched(app.confdir)
    caches = Path(app.outdir).parent / ".jupyter_cache"
    current = caches / f"{fingerprint(app.confdir)}-python-{platform.python_version()}"
    for folder in caches.glob("*"):
        if folder != current and folder.is_dir():
            shutil.rmtree(folder)
    if not current.exists():
        (Path(app.doctreedir) / "environment.pickle").unlink(missing_ok=True)
    config.nb_execution_cache_path = str(current)
    config.book_looks = fingerprint(app.confdir, LOOKS)


def stop_if_touched(app, env=None):
    """Fail, and drop all results, if a source was touched after the fingerprint was taken."""
    before, now = app.book_touched, touched(app.confdir)
    if names := sorted(name for name in {*before, *now} if before.get(name) != now.get(name)):
        shutil.rmtree(app.config.nb_execution_cache_path, ignore_errors=True)
        # Python takes bytecode for that of its source if both are of the same second and length.
        for bytecode in Path(app.confdir).glob("lib/**/__pycache__"):
            shutil.rmtree(bytecode, ignore_errors=True)
        raise SphinxError(
            f"changed while the book was built: {', '.join(names)}. "
            "All results are dropped; build the book again."
        )


def fill_cache(app, env, docnames):
    """Execute the notebooks among `docnames` that the cache lacks, several at once.

    A notebook that fails is left to MyST-NB, which runs it again and reports the traceback.
    """
    if app.config.nb_execution_mode != "cache":
        return
    cache = get_cache(env.mystnb_config.execution_cache_path)
    todo = []
    for path in (Path(env.doc2path(name)) for name in docnames):
        if path.suffix == ".ipynb":
            notebook = nbformat.read(path, as_version=4)
            try:
                cache.match_cache_notebook(notebook)
            except KeyError:
                todo.append((path, notebook))

    if len(todo) > 1:
        kernels.start_warm()

    def execute(job):
        path, notebook = job
        result = single_nb_execution(
            notebook,
            cwd=str(path.parent),
            timeout=app.config.nb_execution_timeout,
            allow_errors=False,
        )
        logger.info("executed %s in %.1f s", path.relative_to(app.srcdir), result.time)
        return path, result

    with ThreadPoolExecutor(min(os.cpu_count() or 1, MAX_KERNELS)) as pool:
        for path, result in pool.map(execute, todo):
            stop_if_touched(app)
            if result.err is None:
                bundle = CacheBundleIn(
                    result.nb, str(path), data={"execution_seconds": result.time}
                )
                cache.cache_notebook_bundle(bundle, check_validity=False, overwrite=True)


def setup(app):
    """Register the extension with Sphinx."""
    # A setting that Sphinx compares with the last build's: pages are written again.
    app.add_config_value("book_looks", "", "html")
    app.connect("config-inited", choose_cache)
    app.connect("env-before-read-docs", fill_cache)
    app.connect("env-updated", stop_if_touched)
    return {"parallel_read_safe": True, "parallel_write_safe": True}
