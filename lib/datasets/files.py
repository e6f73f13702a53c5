"""Files of data sets: found or downloaded, and verified whenever they are read.

A file is looked for in the folder that the environment variable ``DROPOUT_DATA_DIR`` names, then
in the user's cache, and is else downloaded into the cache.
"""

import gzip
import hashlib
import io
import os
import shutil
import tarfile
import tempfile
import zlib
from pathlib import Path, PurePosixPath

import pooch
from tqdm import tqdm

SECONDS_WITHOUT_ANSWER = 30
LARGEST = 50_000_000  # bytes: no file has more, as it is or decompressed


class CorruptedFileError(OSError):
    """A file does not have the content that it should."""


class _Limited(io.BytesIO):
    """Takes no more bytes than a file here can have."""

    def write(self, data):
        if self.tell() + len(data) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        return super().write(data)


def _read_digests():
    """The SHA-256 of each file's content, by its path in the data folder.

    The text is that of ``sha256sum``. What counts is the content: for ``.gz`` the decompressed
    bytes, and for ``.tar.gz`` the members that are read (`digest`).
    """
    text = Path(__file__).with_name("sha256.txt").read_text(encoding="ascii")
    return {path: digest for digest, path in map(str.split, text.splitlines())}


DIGESTS = _read_digests()


def data_folder():
    """The folder that ``DROPOUT_DATA_DIR`` names.

    Returns
    -------
    pathlib.Path or None
        None if the variable is empty or not set.

    Raises
    ------
    NotADirectoryError
        If there is no such folder.
    """
    name = os.environ.get("DROPOUT_DATA_DIR")
    if not name:
        return None
    folder = Path(os.path.expanduser(name))
    if not folder.is_dir():
        raise NotADirectoryError(
            f"DROPOUT_DATA_DIR must name a folder with data, got {name!r}: there is no such folder"
        )
    return folder


def cache_folder():
    """The user's folder for what is downloaded; it need not exist.

    Returns
    -------
    pathlib.Path
    """
    return Path(pooch.os_cache("dropout-book"))


def locate(path):
    """Look for a file, without downloading it.

    Parameters
    ----------
    path : str
        The file's path in the data folder, such as ``"mnist/t10k-labels-idx1-ubyte.gz"``.

    Returns
    -------
    pathlib.Path or None
        Where it is; None if it is neither in ``DROPOUT_DATA_DIR`` nor in the cache.
    """
    for folder in (data_folder(), cache_folder()):
        if folder is not None and (folder / path).is_file():
            return folder / path
    return None


def find(path, addresses, members=None):
    """Look for a file, and download it if it is not there.

    Parameters
    ----------
    path : str
        The file's path in the data folder.
    addresses : sequence of str
        Where it can be downloaded: tried in this order.
    members : str, optional
        Which members of an archive count, as in `read`.

    Returns
    -------
    pathlib.Path

    Raises
    ------
    FileNotFoundError
        If it is nowhere, and no address gives it.
    """
    found = locate(path)
    if found is not None:
        return found

    reasons = []
    for address in addresses:
        try:
            data = _download(address)
            _verified(data, path, members)
        except Exception as error:  # whatever is wrong with one, the next is asked
            reasons.append(f"{address}: {error}")
        else:
            return _store(data, cache_folder() / path)
    raise FileNotFoundError(
        f"{path} is neither in DROPOUT_DATA_DIR ({os.environ.get('DROPOUT_DATA_DIR') or 'not set'})"
        f" nor in the cache ({cache_folder()}), and it could not be downloaded. Set "
        "DROPOUT_DATA_DIR to a folder that has it, or connect to the internet once: the cache "
        "keeps it.\n" + "\n".join(reasons)
    )


def read(file, path, members=None):
    """Read a file and verify its content.

    Parameters
    ----------
    file : pathlib.Path
        Where the file is.
    path : str
        The file's path in the data folder, by which its SHA-256 is known.
    members : str, optional
        Which members of a ``.tar.gz`` archive count, such as ``"*.sgm"``.

    Returns
    -------
    bytes or dict of str to bytes
        The content; of an archive, its members by their names without folders.

    Raises
    ------
    CorruptedFileError
        If the content is not what it should be, or a member's path leaves the archive's folder.
    """
    data = file.read_bytes()
    try:
        return _verified(data, path, members)
    except CorruptedFileError as error:
        raise CorruptedFileError(
            f"{file} is corrupted: {error}. Delete it: it will be downloaded anew."
        ) from error


def digest(content):
    """The SHA-256 of a content.

    Parameters
    ----------
    content : bytes or dict of str to bytes
        As `read` returns it.

    Returns
    -------
    str
        Of the members of an archive, what ``sha256sum * | sha256sum`` prints in their folder, in
        the order of their bytes (``LC_ALL=C``).
    """
    if isinstance(content, dict):
        lines = (f"{digest(content[name])}  {name}\n" for name in sorted(content))
        content = "".join(lines).encode()
    return hashlib.sha256(content).hexdigest()


def _verified(data, path, members):
    """The content of a file's bytes, if it is the right one."""
    try:
        content = _content(data, path, members)
    except (OSError, EOFError, ValueError, zlib.error, tarfile.TarError) as error:
        raise CorruptedFileError(str(error)) from error
    if digest(content) != DIGESTS[path]:
        raise CorruptedFileError(f"the SHA-256 of its content is not {DIGESTS[path]}")
    return content


def _content(data, path, members):
    if not path.endswith(".gz"):
        return data
    content = _Limited()
    with gzip.open(io.BytesIO(data)) as zipped:
        shutil.copyfileobj(zipped, content)
    return _members(content, members) if path.endswith(".tar.gz") else content.getvalue()


def _members(file, pattern):
    """Read an archive's members that match, in memory: nothing is written to the disk."""
    file.seek(0)
    content = {}
    with tarfile.open(fileobj=file, mode="r:") as archive:
        for member in archive:
            path = PurePosixPath(member.name)
            if path.is_absolute() or ".." in path.parts:
                raise ValueError(f"its member {member.name!r} leaves the archive's folder")
            if not (member.isfile() or member.isdir()) or member.issparse():
                raise ValueError(f"its member {member.name!r} is a link, a device, or sparse")
            if member.isfile() and path.match(pattern):
                content[path.name] = archive.extractfile(member).read()
    return content


def _download(address):
    """The bytes at an address."""
    name = address.rpartition("/")[2]
    bar = tqdm(desc=f"Downloading {name}", total=1, unit="B", unit_scale=True, delay=2, leave=False)
    data = _Limited()
    with bar:
        fetch = pooch.HTTPDownloader(
            progressbar=bar, chunk_size=2**16, timeout=SECONDS_WITHOUT_ANSWER
        )
        fetch(address, data, None)
    return data.getvalue()


def _store(data, file):
    """Write a file in one step: it is there as a whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        whole = Path(folder) / file.name
        whole.write_bytes(data)
        os.replace(whole, file)
    return file
