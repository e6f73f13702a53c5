"""What holds for the real data sets, and for files that are damaged, absent or hostile."""

import errno
import gzip
import hashlib
import io
import math
import os
import tarfile
import threading
from functools import partial
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import pytest
import torch
from real_data import absent_sets, needs_data

from lib.datasets import (
    CHARACTERS,
    SPEAKERS,
    UCI_NAMES,
    files,
    load_fashion_mnist,
    load_mnist,
    load_reuters,
    load_reuters_text,
    load_spoken_digits,
    load_uci,
    reuters_topics,
    speech,
    text,
    uci_settings,
)

pytestmark = pytest.mark.slow

LOADERS = [
    pytest.param(load_mnist, marks=needs_data("mnist")),
    pytest.param(load_fashion_mnist, marks=needs_data("fashion-mnist")),
]
reuters_is_here, uci_is_here = needs_data("reuters"), needs_data("uci")
speech_is_here = needs_data("spoken-digits")


@pytest.mark.skipif(not os.environ.get("CI"), reason="CI is not set: sets may be absent")
def test_ci_skips_no_test_where_the_data_are():
    beside = Path(__file__).resolve().parents[3] / "shared" / "data"  # see .ci/run
    if files.data_folder() is not None or beside.is_dir():
        assert absent_sets() == []


def rows(x):
    """The rows of a tensor, sorted, to compare sets of examples."""
    return sorted(row.tobytes() for row in x.numpy())


@pytest.mark.parametrize(
    ("load", "sizes"),
    [
        pytest.param(load_mnist, {"n_train": 50_000, "n_val": 10_000}, marks=needs_data("mnist")),
        pytest.param(load_reuters, {"n_val": 1000}, marks=needs_data("reuters")),
        pytest.param(partial(load_uci, "yacht"), {"n_val": 50}, marks=needs_data("uci")),
    ],
)
def test_training_and_validation_examples_together_are_the_whole_training_set(load, sizes):
    data, whole = load(**sizes, seed=3), load()
    assert rows(torch.cat([data.x_train, data.x_val])) == rows(whole.x_train)
    assert torch.equal(data.x_test, whole.x_test)
    assert torch.equal(data.y_test, whole.y_test)


# --- pictures


@pytest.mark.parametrize("load", LOADERS)
def test_all_pictures_are_there_with_brightness_from_0_to_1_and_ten_classes(load):
    data = load()
    assert [len(part) for part in data] == [60_000, 60_000, 0, 0, 10_000, 10_000]
    for x, y in ((data.x_train, data.y_train), (data.x_test, data.y_test)):
        assert x.shape[1] == 784
        assert (x.dtype, y.dtype) == (torch.float32, torch.int64)
        assert (x.min(), x.max()) == (0, 1)
        assert y.unique().tolist() == list(range(10))


@pytest.mark.parametrize("load", LOADERS)
def test_smaller_training_sets_are_parts_of_larger_ones_and_validation_stays(load):
    small, large = load(n_train=100, n_val=500, seed=1), load(n_train=1000, n_val=500, seed=1)
    assert torch.equal(large.x_train[:100], small.x_train)
    assert torch.equal(large.y_val, small.y_val)
    assert not torch.equal(load(n_train=100, seed=2).y_train, small.y_train)


@pytest.mark.parametrize("load", LOADERS)
def test_ten_pictures_are_of_ten_classes_and_a_hundred_of_each_in_proportion(load):
    assert load(n_train=10).y_train.sort().values.tolist() == list(range(10))
    counts = torch.bincount(load(n_train=100).y_train, minlength=10)
    shares = torch.bincount(load().y_train, minlength=10) / 600
    assert (counts - shares).abs().max() < 2


@pytest.mark.parametrize("load", [load_mnist, load_fashion_mnist])
def test_sizes_that_do_not_fit_together_are_an_error(load):
    with pytest.raises(ValueError, match="^n_val must be 0 or at least 10, got 5$"):
        load(n_val=5)
    message = r"^n_train \+ n_val must be at most 60000, got 59000 \+ 2000 = 61000$"
    with pytest.raises(ValueError, match=message):
        load(n_train=59_000, n_val=2000)


# --- stories


@reuters_is_here
def test_the_stories_are_those_of_r52():
    data = load_reuters()
    assert [len(part) for part in data] == [6532, 6532, 0, 0, 2568, 2568]
    assert len(reuters_topics()) == 52
    assert load_reuters(n_words=23_477).x_train.sum(dim=0).min() > 0  # all words that there are
    for y in (data.y_train, data.y_test):
        assert y.unique().tolist() == list(range(52))
    largest = int(torch.bincount(data.y_train).argmax())
    assert reuters_topics()[largest] == "earn"


@reuters_is_here
def test_an_entry_is_the_logarithm_of_one_and_a_count_and_frequent_words_come_first():
    data = load_reuters(n_words=500)
    counts = data.x_train.exp() - 1
    assert data.x_train.shape == (6532, 500)
    assert torch.allclose(counts, counts.round(), atol=1e-3)
    totals = counts.round().sum(dim=0)
    assert (totals.diff() <= 0).all()
    assert torch.equal(load_reuters(n_words=20).x_train, data.x_train[:, :20])


@reuters_is_here
def test_validation_stories_leave_one_of_each_topic():
    assert load_reuters(n_val=1000, seed=4).y_train.unique().tolist() == list(range(52))
    assert torch.equal(load_reuters(n_val=6480).y_train.sort().values, torch.arange(52))


# --- text


def stories(places):
    """Whole stories of a text; the last one is cut off."""
    return "".join(CHARACTERS[i] for i in places).split("\n")[:-1]


@reuters_is_here
def test_no_story_is_in_two_parts_of_the_text_and_none_twice_in_one():
    parts = [stories(part) for part in load_reuters_text(200_000, 100_000, 100_000, seed=3)]
    whole = [story for part in parts for story in part]
    assert len(whole) == len(set(whole)) > 300
    assert all(len(part) > 50 for part in parts)


@reuters_is_here
def test_a_longer_training_text_begins_as_a_shorter_one_and_the_other_parts_stay():
    short, long = load_reuters_text(1000, seed=1), load_reuters_text(50_000, seed=1)
    assert torch.equal(long.train[:1000], short.train)
    assert torch.equal(long.val, short.val)
    assert torch.equal(long.test, short.test)
    other = load_reuters_text(1000, seed=2)
    assert not any(torch.equal(a, b) for a, b in zip(short, other, strict=True))


@reuters_is_here
def test_the_text_is_as_long_as_asked_for_and_of_characters_that_are_known():
    sample = load_reuters_text(100_000, 20_000, 30_000)
    assert list(map(len, sample)) == [100_000, 20_000, 30_000]
    for part in sample:
        assert part.dtype == torch.int64
        assert 0 <= part.min() <= part.max() < len(CHARACTERS) == 96
    assert "\n" not in stories(sample.train)[0]
    assert "  " not in stories(sample.train)[0]


@reuters_is_here
def test_more_text_than_there_is_is_an_error():
    with pytest.raises(ValueError, match=r"^n_train must be at most \d+, .* got 20000000$"):
        load_reuters_text(20_000_000)
    with pytest.raises(ValueError, match=r"^n_val must be at most \d+, .* got 5000000$"):
        load_reuters_text(8_000_000, n_val=5_000_000)


def test_characters_that_are_no_plain_ones_are_left_out():
    found = "".join(CHARACTERS[i] for i in text._places("A 1~\x7fü\n"))
    assert found == "A 1~\n"


# --- speech


@speech_is_here
@pytest.mark.parametrize(
    ("left_out", "sizes"),
    [(None, (2400, 300, 300)), *((speaker, (2000, 500, 500)) for speaker in SPEAKERS)],
)
def test_each_recording_is_in_one_part_and_a_left_out_speaker_in_one_too(left_out, sizes):
    spoken = load_spoken_digits(left_out=left_out)
    parts = [part.unique() for part in spoken[1:]]
    assert tuple(map(len, parts)) == sizes
    assert len(torch.cat(parts).unique()) == 3000
    assert sum(map(len, spoken.split[::2])) == 63_353
    if left_out is None:
        assert parts[2].remainder(50).unique().tolist() == [0, 1, 2, 3, 4]
    else:
        speakers = [set((part // 50 % 6).tolist()) for part in parts]
        assert speakers[2] == {SPEAKERS.index(left_out)}
        assert not speakers[0] & speakers[1]
        assert not (speakers[0] | speakers[1]) & speakers[2]


@speech_is_here
def test_a_frame_has_its_neighbours_and_the_digit_of_its_recording():
    wide, narrow = load_spoken_digits(), load_spoken_digits(context=0)
    x, alone, recording = wide.split.x_train, narrow.split.x_train, wide.recording_train
    assert torch.equal(wide.split.y_train, recording // 300)
    assert x.shape[1] == 15 * 40
    assert alone.shape[1] == 40
    assert torch.allclose(alone.mean(dim=0), torch.zeros(40), atol=1e-4)
    assert torch.allclose(alone.std(dim=0), torch.ones(40), atol=1e-3)
    inside = (recording[:-14] == recording[14:]).nonzero()[:50, 0]
    for i in inside.tolist():  # rows i to i + 14 are of one recording: all neighbours of i + 7
        neighbours = torch.cat([x[j, 280:320] for j in range(i, i + 15)])
        assert torch.allclose(x[i + 7], neighbours)


@speech_is_here
def test_no_frame_is_so_quiet_that_the_floor_counts():
    quietest = speech._log_mel_frames(files.find(speech.PATH, speech.MIRRORS, speech.MEMBERS))[0]
    assert math.log(speech.FLOOR) < quietest.min() < math.log(speech.FLOOR) + 1


# --- regression


@uci_is_here
@pytest.mark.parametrize(
    ("name", "n", "n_features"),
    [("concrete", 1030, 8), ("energy", 768, 8), ("wine-quality-red", 1599, 11), ("yacht", 308, 6)],
)
def test_the_splits_are_twenty_of_nine_to_one_and_lose_no_example(name, n, n_features):
    everything = None
    for split in range(20):
        data = load_uci(name, split=split)
        assert len(data.x_train) + len(data.x_test) == n
        assert abs(len(data.x_test) - n / 10) <= 1
        assert data.x_train.shape[1] == n_features
        assert data.y_train.shape == (len(data.x_train), 1)
        examples = rows(torch.cat([torch.cat(data[::2]), torch.cat(data[1::2])], dim=1))
        assert everything is None or examples == everything
        everything = examples


@uci_is_here
@pytest.mark.parametrize("name", UCI_NAMES)
def test_the_settings_are_what_the_authors_searched(name):
    settings = uci_settings(name)
    assert settings.dropout_rates == (0.005, 0.01, 0.05, 0.1)
    assert (settings.n_hidden, settings.n_epochs) == (50, 40)
    assert all(tau > 0 for tau in settings.tau_values)


@uci_is_here
def test_validation_examples_leave_one_to_train_on():
    assert len(load_uci("yacht", n_val=276).x_train) == 1
    with pytest.raises(ValueError, match="n_val must be a whole number from 0 to 276, got 277"):
        load_uci("yacht", n_val=277)


# --- files

PLAIN, ZIPPED, ARCHIVE = "set/numbers.txt", "set/bytes.gz", "set/archive.tar.gz"
CONTENT = b"1 2 3\n" * 500
WAVES = {"a.wav": b"sound of a", "b.wav": b"sound of b"}
MEMBERS = "sounds/*.wav"


def archive(members, links=()):
    """A .tar.gz of members by path, and of symbolic links."""
    file = io.BytesIO()
    with tarfile.open(fileobj=file, mode="w:gz") as tar:
        for path, content in members.items():
            info = tarfile.TarInfo(path)
            info.size = len(content)
            tar.addfile(info, io.BytesIO(content))
        for path, target in links:
            info = tarfile.TarInfo(path)
            info.type, info.linkname = tarfile.SYMTYPE, target
            tar.addfile(info)
    return file.getvalue()


def sparse_archive(path):
    """A .tar.gz with a member of 2 TB, all of it a hole."""
    info = tarfile.TarInfo(path)
    info.pax_headers = {"GNU.sparse.map": "0,0", "GNU.sparse.size": str(2**41)}
    return gzip.compress(info.tobuf(tarfile.PAX_FORMAT) + bytes(1024))


RIGHT = {
    PLAIN: CONTENT,
    ZIPPED: gzip.compress(CONTENT),
    ARCHIVE: archive({f"sounds/{name}": content for name, content in WAVES.items()}),
}


@pytest.fixture
def folders(tmp_path, monkeypatch):
    """An empty data folder and an empty cache, and the digests of the files above."""
    data, cache = tmp_path / "data", tmp_path / "cache"
    data.mkdir()
    monkeypatch.setenv("DROPOUT_DATA_DIR", str(data))
    monkeypatch.setenv("NO_PROXY", "127.0.0.1")
    monkeypatch.setattr(files, "cache_folder", lambda: cache)
    sha256 = hashlib.sha256(CONTENT).hexdigest()
    digests = {PLAIN: sha256, ZIPPED: sha256, ARCHIVE: files.digest(WAVES)}
    monkeypatch.setattr(files, "DIGESTS", digests)
    return data, cache


def put(folder, path, content):
    (folder / path).parent.mkdir(parents=True, exist_ok=True)
    (folder / path).write_bytes(content)
    return folder / path


def read(folder, path, content):
    """What is read where a file has this content."""
    return files.read(put(folder, path, content), path, MEMBERS)


def everything_below(folder):
    return [each for each in folder.rglob("*") if each.is_file()]


class Server(ThreadingHTTPServer):
    """Serves pages from a dict, of which it may say other lengths than they have."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.pages, self.lengths, self.asked = {}, {}, []

    def address(self, page):
        return f"http://127.0.0.1:{self.server_port}/{page}"


class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        page = self.path.lstrip("/")
        self.server.asked.append(page)
        if page not in self.server.pages:
            self.send_error(404)
            return
        content = self.server.pages[page]
        self.send_response(200)
        self.send_header("Content-Length", self.server.lengths.get(page, str(len(content))))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_):
        pass


@pytest.fixture
def server():
    with Server() as server:
        thread = threading.Thread(target=server.serve_forever, kwargs={"poll_interval": 0.01})
        thread.start()
        yield server
        server.shutdown()
        thread.join()


@pytest.mark.parametrize("path", RIGHT)
def test_the_right_content_is_read_from_the_data_folder(folders, path):
    assert read(folders[0], path, RIGHT[path]) == (WAVES if path == ARCHIVE else CONTENT)
    assert files.find(path, [], MEMBERS) == folders[0] / path


def test_the_data_folder_goes_before_the_cache(folders):
    cached = put(folders[1], PLAIN, CONTENT)
    assert files.find(PLAIN, []) == cached
    own = put(folders[0], PLAIN, CONTENT)
    assert files.find(PLAIN, []) == own


@pytest.mark.parametrize("path", RIGHT)
def test_a_truncated_file_is_an_error_that_names_it(folders, path):
    content = RIGHT[path]
    for length in (0, 1, len(content) // 2, len(content) - 1):
        with pytest.raises(files.CorruptedFileError, match=f"{path} is corrupted: .*Delete"):
            read(folders[0], path, content[:length])


def test_no_bit_of_a_zipped_file_can_be_flipped_unseen(folders):
    content = RIGHT[ZIPPED]
    for place in range(10, len(content)):  # behind the header, whose time stamp may vary
        flipped = bytearray(content)
        flipped[place] ^= 4
        with pytest.raises(files.CorruptedFileError):
            read(folders[0], ZIPPED, flipped)


FLIPPED = CONTENT[:-2] + b"2\n"  # one bit
ESCAPING, UNUSUAL = "leaves the archive's folder", "is a link, a device, or sparse"
WRONG = "the SHA-256 of its content is not"


@pytest.mark.parametrize(
    ("path", "content", "message"),
    [
        (PLAIN, FLIPPED, WRONG),
        (ZIPPED, gzip.compress(FLIPPED), WRONG),
        (ZIPPED, gzip.compress(bytes(2**20)) * 100, "it has more than 50,000,000 bytes"),
        (ARCHIVE, archive({"sounds/a.wav": b"sound of c", "sounds/b.wav": b"sound of b"}), WRONG),
        (ARCHIVE, archive({"sounds/a.wav": WAVES["a.wav"]}), WRONG),
        (ARCHIVE, archive({"sounds/../../evil.wav": b"x"}), ESCAPING),
        (ARCHIVE, archive({"/tmp/evil.wav": b"x"}), ESCAPING),
        (ARCHIVE, archive({}, links=[("sounds/c.wav", "/etc/passwd")]), UNUSUAL),
        (ARCHIVE, sparse_archive("sounds/a.wav"), UNUSUAL),
        (ARCHIVE, gzip.compress(bytes(2**20)) * 100, "it has more than 50,000,000 bytes"),
    ],
    ids=["bit", "gz-bit", "gz-bomb", "member", "gone", "up", "absolute", "link", "sparse", "bomb"],
)
def test_wrong_and_hostile_content_is_refused_and_nothing_is_written(
    folders, path, content, message, tmp_path
):
    with pytest.raises(files.CorruptedFileError, match=message):
        read(folders[0], path, content)
    assert everything_below(tmp_path) == [folders[0] / path]
    assert not Path("/tmp/evil.wav").exists()


def test_without_data_and_network_the_error_says_what_to_set(folders, monkeypatch):
    monkeypatch.delenv("DROPOUT_DATA_DIR")
    nobody = "http://127.0.0.1:9/numbers.txt"  # a port where nobody answers
    with pytest.raises(FileNotFoundError, match="Set DROPOUT_DATA_DIR to a folder") as caught:
        files.find(PLAIN, [nobody])
    assert nobody in str(caught.value)
    assert "DROPOUT_DATA_DIR (not set)" in str(caught.value)
    assert not folders[1].exists()


@pytest.mark.parametrize("name", ["/no/such/folder", "~nobody-of-this-name"])
def test_a_data_folder_that_is_not_there_is_an_error(folders, monkeypatch, name):
    monkeypatch.setenv("DROPOUT_DATA_DIR", name)
    with pytest.raises(NotADirectoryError, match=f"DROPOUT_DATA_DIR must .*, got '{name}'"):
        files.find(PLAIN, [])


@pytest.mark.parametrize("path", RIGHT)
def test_a_download_is_kept_and_asked_for_once(folders, server, path):
    server.pages["page"] = RIGHT[path]
    for _ in range(2):
        file = files.find(path, [server.address("page")], MEMBERS)
        assert file == folders[1] / path
        assert file.read_bytes() == RIGHT[path]
    assert server.asked == ["page"]
    assert everything_below(folders[1]) == [file]


def test_a_mirror_with_another_content_or_answer_is_passed_over(folders, server, monkeypatch):
    monkeypatch.setattr(files, "LARGEST", 2**20)
    server.pages = {"wrong": b"<html>moved</html>", "faulty": CONTENT}
    server.pages |= {"endless": bytes(2**21), "right": CONTENT}
    server.lengths = {"faulty": "many"}
    mirrors = ["absent", *server.pages]
    file = files.find(PLAIN, [server.address(page) for page in mirrors])
    assert file.read_bytes() == CONTENT
    assert server.asked == mirrors


def test_a_download_that_breaks_off_leaves_nothing(folders, server):
    server.pages["page"], server.lengths["page"] = CONTENT, str(len(CONTENT) + 1)
    with pytest.raises(FileNotFoundError, match="could not be downloaded"):
        files.find(PLAIN, [server.address("page")])
    assert not folders[1].exists()


def test_a_full_disk_leaves_no_half_file(folders, server, monkeypatch):
    def write_half(path, content):
        with path.open("wb") as file:
            file.write(content[: len(content) // 2])
        raise OSError(errno.ENOSPC, "No space left on device")

    server.pages["page"] = CONTENT
    monkeypatch.setattr(Path, "write_bytes", write_half)
    with pytest.raises(OSError, match="No space left on device"):
        files.find(PLAIN, [server.address("page")])
    assert everything_below(folders[1]) == []
    assert files.locate(PLAIN) is None
