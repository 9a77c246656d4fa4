"""Downloads that break off, servers that can't resume, wrong files: against a server of our own."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, HTTPServer
from typing import Any

import pytest

from mezzotint.errors import BadInput, RunFailed
from mezzotint.evaluation.weights import Published, fetching, find_weights

CONTENT = bytes(range(256)) * 12_000  # about three blocks
DIGEST = hashlib.sha256(CONTENT).hexdigest()


class _Server(HTTPServer):
    """Serves CONTENT at any path, as it is told to."""

    def __init__(self):
        super().__init__(("127.0.0.1", 0), _Handler)
        self.content, self.cut, self.resumes, self.asked = CONTENT, None, True, []

    @property
    def url(self):
        return f"http://127.0.0.1:{self.server_port}/w.pth"


class _Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        server: Any = self.server
        wanted = self.headers.get("Range")
        server.asked.append(wanted)
        start = int(wanted[len("bytes=") : -1]) if wanted and server.resumes else 0
        body = server.content[start:]
        if start and not body:
            self.send_error(416)
            return
        self.send_response(206 if start else 200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body if server.cut is None else body[: server.cut])  # HTTP/1.0: then it hangs up

    def log_message(self, format, *args):
        pass


@pytest.fixture
def server(monkeypatch, tmp_path):
    monkeypatch.setenv("MEZZOTINT_HOME", str(tmp_path))
    monkeypatch.delenv("MEZZOTINT_WEIGHTS", raising=False)
    server = _Server()
    thread = threading.Thread(target=server.serve_forever, args=(0.01,))
    thread.start()
    yield server
    server.shutdown()
    thread.join()
    server.server_close()


def fetch(server, sha256=DIGEST):
    return find_weights("toy", [Published("w.pth", sha256, server.url)], None, None)


def kept(folder):
    return sorted(path.name for path in (folder / "weights").iterdir())


def test_a_download_is_checked_named_and_found_again(server, tmp_path):
    seen = list(fetching("toy", [Published("w.pth", DIGEST[:8], server.url)]))
    assert (seen[0].done, seen[-1].done, seen[-1].total) == (0, len(CONTENT), len(CONTENT))
    assert kept(tmp_path) == ["w.pth"]
    assert fetch(server).read_bytes() == CONTENT
    assert len(server.asked) == 1  # the second time from the cache


def test_an_interrupted_download_is_kept_and_resumed(server, tmp_path):
    server.cut = len(CONTENT) // 2
    with pytest.raises(
        RunFailed, match=r"w\.pth: interrupted .* is kept: `mezzotint weights fetch toy` goes on"
    ) as told:
        fetch(server)
    assert "\n" not in str(told.value)
    assert kept(tmp_path) == ["w.pth.part"]
    server.cut = None
    seen = list(fetching("toy", [Published("w.pth", DIGEST, server.url)]))
    assert server.asked == [None, f"bytes={len(CONTENT) // 2}-"]
    assert (seen[0].done, seen[-1].done) == (len(CONTENT) // 2, len(CONTENT))
    assert kept(tmp_path) == ["w.pth"]
    assert fetch(server).read_bytes() == CONTENT


def test_a_server_that_cannot_resume_begins_again(server, tmp_path):
    server.cut, server.resumes = 1000, False
    with pytest.raises(RunFailed, match="interrupted"):
        fetch(server)
    server.cut = None
    assert fetch(server).read_bytes() == CONTENT
    assert kept(tmp_path) == ["w.pth"]


def test_a_part_that_is_whole_only_needs_its_name(server, tmp_path):
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.pth.part").write_bytes(CONTENT)
    assert fetch(server).read_bytes() == CONTENT
    assert server.asked == [f"bytes={len(CONTENT)}-"]


@pytest.mark.parametrize("left", [b"", b"other bytes"])
def test_a_wrong_file_is_told_with_its_hash_and_removed(left, server, tmp_path):
    server.content = b"something else entirely"
    (tmp_path / "weights").mkdir()
    (tmp_path / "weights" / "w.pth.part").write_bytes(left)
    arrived = hashlib.sha256(left + server.content[len(left) :]).hexdigest()
    with pytest.raises(BadInput, match=f"wrong weights file, SHA-256 {arrived}, expected {DIGEST}"):
        fetch(server)
    assert kept(tmp_path) == []


def test_a_cached_file_that_has_changed_is_refused(server, tmp_path):
    path = fetch(server)
    path.write_bytes(CONTENT[:-1])
    with pytest.raises(BadInput, match="wrong weights file"):
        fetch(server)


def test_a_server_that_refuses_is_told_in_one_line(server, tmp_path):
    url = f"http://127.0.0.1:{server.server_port}/w.pth"
    server.content, server.resumes = b"", True
    (tmp_path / "weights").mkdir()
    server.shutdown()
    server.server_close()
    with pytest.raises(BadInput, match=r"no weights file w\.pth in .*fetched \(.*refused.*the toy extractor's option"):
        find_weights("toy", [Published("w.pth", DIGEST, url)], None, None)
    assert kept(tmp_path) == []


def test_without_an_address_nothing_is_fetched(server):
    with pytest.raises(BadInput, match=r"toy: no address is published for w\.pth"):
        find_weights("toy", [Published("w.pth", DIGEST)], None, None)
