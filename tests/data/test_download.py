"""Fetching the Cheng files from a server that cuts, lies and recovers."""

import hashlib
import threading
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest

from benchmark.data.sources.cheng_download import RemoteFile, fetch_cheng, remote_files
from benchmark.errors import UserError

CONTENT = bytes(range(256)) * 4000
GOOD = RemoteFile("slices.zip", "77", len(CONTENT), hashlib.sha256(CONTENT).hexdigest())


class Server:
    """Serves ``CONTENT`` as file 77. ``cut`` bytes are sent of the next answer only; ``ranges`` notes requests."""

    def __init__(self):
        self.cut = None
        self.ranges = []
        self.content = CONTENT
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self):
                assert self.path == "/files/77"
                asked = self.headers.get("Range")
                server.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").rstrip("-")) if asked else 0
                body = server.content[start:]
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(body)))
                self.end_headers()
                sent, server.cut = body[: server.cut], None
                self.wfile.write(sent)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()


@pytest.fixture
def server():
    started = Server()
    yield started
    started.http.shutdown()


def test_a_download_is_verified_and_done_once(server, tmp_path):
    folder = fetch_cheng(tmp_path, server.url, (GOOD,))
    assert (folder / "slices.zip").read_bytes() == CONTENT
    fetch_cheng(tmp_path, server.url, (GOOD,))
    assert server.ranges == [None]


def test_a_download_that_was_cut_goes_on_where_it_stopped(server, tmp_path):
    server.cut = 300_000
    with pytest.raises(
        UserError, match=r"'slices\.zip' can't be fetched .* try again and it goes on where it stopped"
    ):
        fetch_cheng(tmp_path, server.url, (GOOD,))
    assert not list(tmp_path.rglob("slices.zip"))
    folder = fetch_cheng(tmp_path, server.url, (GOOD,))
    assert (folder / "slices.zip").read_bytes() == CONTENT
    kept = int(server.ranges[1].removeprefix("bytes=").rstrip("-"))
    assert 0 < kept <= 300_000


def test_a_wrong_checksum_is_refused_and_fetched_anew(server, tmp_path):
    server.content = CONTENT[:-1] + b"?"
    with pytest.raises(UserError, match=r"'slices\.zip' from .* has a wrong SHA-256 and was thrown away"):
        fetch_cheng(tmp_path, server.url, (GOOD,))
    assert not list(tmp_path.rglob("slices.zip"))
    server.content = CONTENT
    assert (fetch_cheng(tmp_path, server.url, (GOOD,)) / "slices.zip").read_bytes() == CONTENT


def test_without_a_network_the_way_out_is_named(tmp_path):
    with pytest.raises(UserError, match=r"get the files from https://doi.org/.* by hand"):
        fetch_cheng(tmp_path, "http://127.0.0.1:9", (GOOD,))


def test_the_articles_files_are_known():
    files = remote_files()
    assert [file.name for file in files if file.sha256] == [
        f"brainTumorDataPublic_{part}.zip" for part in ("1-766", "767-1532", "1533-2298", "2299-3064")
    ]
    assert all(len(file.sha256) == 64 for file in files if file.sha256)
    assert [file.name for file in files if not file.sha256] == ["cvind.mat"]
