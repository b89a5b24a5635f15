"""Fetching from a publisher: a real server that breaks off, changes its mind, or is not there."""

from __future__ import annotations

import hashlib
import io
import threading
import zipfile
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path

import filelock
import pytest

from torchliquid.datasets import fetch
from torchliquid.errors import InputError

FILES = {"a/readings.txt": bytes(range(256)) * 400, "notes.txt": b"all\n"}


def packed(files: dict[str, bytes]) -> bytes:
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w") as archive:
        for name, content in files.items():
            archive.writestr(name, content)
    return buffer.getvalue()


class Publisher:
    """Serves one file with ranges, as far as it is told to."""

    def __init__(self) -> None:
        self.content, self.tag, self.date, self.stops_after, self.ranges = b"", '"one"', "", None, True
        self.asked: list[str | None] = []
        self.sent = 0
        outer = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                outer.answer(self)

            def log_message(self, *_: object) -> None:
                pass

        self.server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.address = f"http://127.0.0.1:{self.server.server_port}/data.zip"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def answer(self, to: BaseHTTPRequestHandler) -> None:
        wanted = to.headers["Range"]
        self.asked.append(wanted)
        start = 0
        if wanted and self.ranges and to.headers["If-Range"] in (self.tag, self.date):
            start = int(wanted.removeprefix("bytes=").removesuffix("-"))
        if start >= len(self.content):
            to.send_response(416)
            to.send_header("Content-Range", f"bytes */{len(self.content)}")
            to.end_headers()
            return
        to.send_response(206 if start else 200)
        if start:
            to.send_header("Content-Range", f"bytes {start}-{len(self.content) - 1}/{len(self.content)}")
        if self.tag:
            to.send_header("ETag", self.tag)
        if self.date:
            to.send_header("Last-Modified", self.date)
        body = self.content[start:]
        to.send_header("Content-Length", str(len(body)))
        to.end_headers()
        body = body[: self.stops_after]
        self.sent += len(body)
        to.wfile.write(body)


@pytest.fixture
def publisher(monkeypatch, tmp_path):
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    monkeypatch.delenv("TORCHLIQUID_DATA", raising=False)
    monkeypatch.setenv("no_proxy", "127.0.0.1")
    made = Publisher()
    made.content = packed(FILES)
    yield made
    made.server.shutdown()
    made.server.server_close()


@pytest.fixture
def cache(tmp_path) -> Path:
    return tmp_path / "torchliquid" / "made_up"


def source(publisher: Publisher, **more: object) -> fetch.Source:
    return fetch.Source(
        name="made_up",
        address="https://example.org/made-up",
        archive=publisher.address,
        files={name: (hashlib.sha256(content).hexdigest(),) for name, content in FILES.items()},
        **more,
    )


def kept(cache: Path) -> list[str]:
    return sorted(str(p.relative_to(cache)) for p in cache.rglob("*") if p.is_file())


def test_an_archive_is_fetched_once_and_kept(publisher, cache):
    inside = packed({"inner.zip": publisher.content})
    publisher.content = inside
    path = fetch.locate(source(publisher, inside=("inner.zip",)), "a/readings.txt")
    assert path.read_bytes() == FILES["a/readings.txt"]
    assert kept(cache) == sorted(FILES)
    fetch.locate(source(publisher, inside=("inner.zip",)), "notes.txt")
    assert publisher.asked == [None]


@pytest.mark.parametrize("validator", ["tag", "date"])
def test_what_broke_off_goes_on_from_there(publisher, cache, validator):
    if validator == "date":
        publisher.tag, publisher.date = 'W/"weak"', "Wed, 21 Oct 2015 07:28:00 GMT"
    publisher.stops_after = 30_000
    with pytest.raises(InputError, match=r"broke off after 30,000 bytes .* same command again") as caught:
        fetch.locate(source(publisher), "notes.txt")
    assert "\n" not in str(caught.value)
    with pytest.raises(InputError, match="broke off after 60,000 bytes"):
        fetch.locate(source(publisher), "notes.txt")
    publisher.stops_after = None
    fetch.locate(source(publisher), "notes.txt")
    assert publisher.asked == [None, "bytes=30000-", "bytes=60000-"]
    assert publisher.sent == len(publisher.content)  # no byte twice
    assert kept(cache) == sorted(FILES)
    assert (cache / "a/readings.txt").read_bytes() == FILES["a/readings.txt"]


@pytest.mark.parametrize("change", ["another file", "no ranges", "no version"])
def test_a_part_of_something_else_is_not_gone_on_with(publisher, cache, change):
    if change == "no version":
        publisher.tag = ""
    publisher.stops_after = 30_000
    with pytest.raises(InputError, match="broke off"):
        fetch.locate(source(publisher), "notes.txt")
    publisher.stops_after = None
    if change == "another file":
        publisher.content, publisher.tag = packed(dict(reversed(FILES.items()))), '"two"'
    publisher.ranges = change != "no ranges"
    fetch.locate(source(publisher), "notes.txt")
    assert kept(cache) == sorted(FILES)


def test_all_fetched_before_the_end_is_not_fetched_again(publisher, cache):
    cache.mkdir(parents=True)
    (cache / ".archive.part").write_bytes(publisher.content)
    (cache / ".archive.version").write_text('"one"')
    fetch.locate(source(publisher), "notes.txt")
    assert publisher.sent == 0
    assert kept(cache) == sorted(FILES)


def test_a_wrong_archive_leaves_nothing_behind(publisher, cache):
    right = publisher.content
    for wrong in (b"no archive", packed({"x": b""}), packed(FILES | {"notes.txt": b"other\n"})):
        publisher.content = wrong
        with pytest.raises(InputError, match="now holds another file"):
            fetch.locate(source(publisher), "notes.txt")
        assert kept(cache) == []
    publisher.content = right
    fetch.locate(source(publisher), "notes.txt")


def test_a_file_that_stands_alone(publisher, cache):
    publisher.content = FILES["notes.txt"]
    alone = source(publisher, direct={"notes.txt": publisher.address})
    assert fetch.locate(alone, "notes.txt").read_bytes() == FILES["notes.txt"]
    assert kept(cache) == ["notes.txt"]


def test_two_commands_do_not_fetch_the_same_at_once(publisher, cache):
    publisher.stops_after = 30_000
    with pytest.raises(InputError, match="broke off"):
        fetch.locate(source(publisher), "notes.txt")
    (part,) = cache.glob(".*.part")
    before, publisher.stops_after = part.read_bytes(), None
    with part.open("ab") as other:
        filelock.lock_descriptor(other.fileno())
        with pytest.raises(InputError, match="another command is downloading"):
            fetch.locate(source(publisher), "notes.txt")
    assert part.read_bytes() == before
    assert fetch.locate(source(publisher), "notes.txt").read_bytes() == FILES["notes.txt"]


def test_no_answer_is_one_line_and_leaves_nothing(publisher, tmp_path):
    publisher.server.shutdown()
    publisher.server.server_close()
    with pytest.raises(InputError, match=r"cannot be reached .*; get it from https://example.org/made-up") as caught:
        fetch.locate(source(publisher), "notes.txt")
    assert "\n" not in str(caught.value)
    assert list(tmp_path.iterdir()) == []


def test_an_address_that_is_gone_is_one_line(publisher):
    publisher.content = b""  # 416 to everything
    with pytest.raises(InputError, match=r"cannot be reached \(Requested Range Not Satisfiable\)"):
        fetch.locate(source(publisher), "notes.txt")
