"""A server of files that notes requests, answers ranges, and cuts an answer when it is told to."""

import hashlib
import json
from collections.abc import Callable
from typing import Any

from tests.local_server import Answering, LocalServer


class Server(LocalServer):
    """Serves ``content`` by path. ``cut`` bytes are sent of the next answer with a file; ``ranges`` notes them."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.posts: dict[str, Callable[[Any], str | bytes]] = {}
        self.cut: int | None = None
        self.ranges: list[str | None] = []
        self.asked: list[str] = []
        server = self

        class Handler(Answering):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def do_POST(self):
                server.asked.append(self.path)
                answer = server.posts[self.path](json.loads(self.body() or b"{}"))
                if isinstance(answer, str):  # go there
                    self.send_response(302)
                    self.send_header("Location", server.url + answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send(200, answer)

            def answer(self, body):
                path = self.path.partition("?")[0]
                server.asked.append(path)
                if path not in server.content:
                    self.send(404, b"{}")
                    return
                whole = server.content[path]
                if whole.startswith(b"{"):
                    self.send(200, whole if body else b"")
                    return
                asked = self.headers.get("Range")
                if body:
                    server.ranges.append(asked)
                start = int(asked.removeprefix("bytes=").partition("-")[0]) if asked else 0
                left = whole[start:]
                self.send_response(206 if asked else 200)
                self.send_header("Content-Length", str(len(left)))
                self.send_header("Accept-Ranges", "bytes")
                if asked:
                    self.send_header("Content-Range", f"bytes {start}-{len(whole) - 1}/{len(whole)}")
                self.send_header("ETag", f'"{hashlib.sha256(whole).hexdigest()}"')
                for name, value in server.headers.items():
                    self.send_header(name, value)
                self.end_headers()
                if body:
                    sent, server.cut = left[: server.cut], None
                    self.wfile.write(sent)

        super().__init__(Handler)
