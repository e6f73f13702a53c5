"""Pictures as small files of known size, loaded when the reader comes near.

Figures become lossless WebP files, those within a page too (the frames of a figure with a slider).
Each is named after its contents: one that is there already is not made again.
"""

import base64
import hashlib
import io
import os
import re
from concurrent.futures import ThreadPoolExecutor

from PIL import Image

ROOT = re.compile(r'data-content_root="([^"]*)"')
INLINE = re.compile(r"data:image/png;base64,[A-Za-z0-9+/=]+")
FILE = re.compile(r"(?<=_images/)[\w.-]+\.png")
TAG = re.compile(r'<img\b(?![^>]*\sloading=)[^>]*\bsrc="[^"]*_images/([\w.-]+\.webp)"[^>]*>')
WIDTH = re.compile(r'\swidth="(\d+)"')


def shrink(png, folder):
    """Write a picture into a folder unless it is there; return its path."""
    path = folder / f"{hashlib.sha256(png).hexdigest()[:20]}.webp"
    if not path.exists():
        Image.open(io.BytesIO(png)).save(path, lossless=True, quality=75, method=4)
    return path


def make_small(pages, folder):
    """Put small files in place of a folder's PNG files; return what was, and its new path.

    What was is the name of a file, or the address that holds a picture within a page.
    """
    files = list(folder.glob("*.png"))
    pngs = {path.name: path.read_bytes() for path in files}
    for address in {found[0] for page in pages for found in INLINE.finditer(page)}:
        pngs[address] = base64.b64decode(address.partition(",")[2])
    folder.mkdir(exist_ok=True)
    with ThreadPoolExecutor(os.cpu_count()) as pool:
        paths = pool.map(lambda png: shrink(png, folder), pngs.values())
        small = dict(zip(pngs, paths, strict=True))
    for path in files:
        path.unlink()
    return small


def use_small(page, small):
    """Return a page with the small pictures, told by their sizes; all but the first are lazy."""
    root = ROOT.search(page)

    page = INLINE.sub(lambda found: f"{root[1]}_images/{small[found[0]].name}", page)
    page = FILE.sub(lambda found: small[found[0]].name, page)
    sizes = {path.name: path for path in small.values()}
    seen = []

    def mend(found):
        tag, name = found[0], found[1]
        width, height = Image.open(sizes[name]).size
        if given := WIDTH.search(tag):
            tag = WIDTH.sub("", tag)
            width, height = int(given[1]), round(int(given[1]) * height / width)
        seen.append(name)
        loading = "lazy" if len(seen) > 1 else "eager"
        return f'<img loading="{loading}" width="{width}" height="{height}"{tag[4:]}'

    return TAG.sub(mend, page)
