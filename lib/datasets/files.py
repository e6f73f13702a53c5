"""Files of data sets: found or downloaded, and verified whenever they are read.

A file is known by its path in the data folder; of an archive only some members count, by a pattern.
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

LARGEST = 50_000_000  # bytes: no file has more, as it is or decompressed


class CorruptedFileError(OSError):
    """A file does not have the content that it should."""


class _Limited(io.BytesIO):
    """Takes no more bytes than a file here can have."""

    def write(self, data):
        if self.tell() + len(data) > LARGEST:
            raise ValueError(f"it has more than {LARGEST:,} bytes")
        return super().write(data)


# The SHA-256 of each content, by its path in the data folder: for ``.gz`` of the decompressed
# bytes, for ``.tar.gz`` of the members that are read (`digest`).
LINES = Path(__file__).with_name("sha256.txt").read_text(encoding="ascii").splitlines()
DIGESTS = {path: digest for digest, path in map(str.split, LINES)}


def data_folder():
    """The folder that ``DROPOUT_DATA_DIR`` names; None if the variable is empty or not set."""
    name = os.environ.get("DROPOUT_DATA_DIR")
    folder = Path(os.path.expanduser(name)) if name else None
    if folder and not folder.is_dir():
        raise NotADirectoryError(
            f"DROPOUT_DATA_DIR must name a folder with data, got {name!r}: there is no such folder"
        )
    return folder


def cache_folder():
    """The user's folder for what is downloaded; it need not exist."""
    return Path(pooch.os_cache("dropout-book"))


def locate(path):
    """Where a file is; None if it would have to be downloaded."""
    files = (folder / path for folder in (data_folder(), cache_folder()) if folder)
    return next(filter(Path.is_file, files), None)


def find(path, addresses, members=None):
    """Where a file is; else it is downloaded from the first address that has the right content."""
    if found := locate(path):
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
    """The verified content of a file; of an archive, its members by their names without folders."""
    try:
        return _verified(file.read_bytes(), path, members)
    except CorruptedFileError as error:
        raise CorruptedFileError(
            f"{file} is corrupted: {error}. Delete it: it will be downloaded anew."
        ) from error


def digest(content):
    """The SHA-256 of a content, as `read` returns it.

    Of the members of an archive it is what ``sha256sum * | sha256sum`` prints in their folder, in
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
    """What a file holds, unpacked in memory: nothing is written to the disk."""
    if not path.endswith(".gz"):
        return data
    content = _Limited()
    with gzip.open(io.BytesIO(data)) as zipped:
        shutil.copyfileobj(zipped, content)
    content.seek(0)
    return _members(content, members) if path.endswith(".tar.gz") else content.read()


def _members(file, pattern):
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
    data, title = _Limited(), f"Downloading {address.rpartition('/')[2]}"
    with tqdm(desc=title, total=1, unit="B", unit_scale=True, delay=2, leave=False) as bar:
        download = pooch.HTTPDownloader(progressbar=bar, chunk_size=2**16, timeout=30)
        download(address, data, None)
    return data.getvalue()


def _store(data, file):
    """Write a file in one step: it is there as a whole, or not at all."""
    file.parent.mkdir(parents=True, exist_ok=True)
    with tempfile.TemporaryDirectory(dir=file.parent) as folder:
        whole = Path(folder) / file.name
        whole.write_bytes(data)
        os.replace(whole, file)
    return file
