"""A server of files that notes requests, answers ranges, and cuts an answer when it is told to."""

import hashlib
import json
import threading
from collections.abc import Callable
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Server:
    """Serves ``content`` by path. ``cut`` bytes are sent of the next answer with a file; ``ranges`` notes them."""

    def __init__(self) -> None:
        self.content: dict[str, bytes] = {}
        self.headers: dict[str, str] = {}
        self.posts: dict[str, Callable[[Any], str | bytes]] = {}
        self.cut: int | None = None
        self.ranges: list[str | None] = []
        self.asked: list[str] = []
        server = self

        class Handler(BaseHTTPRequestHandler):
            def do_HEAD(self):
                self.answer(body=False)

            def do_GET(self):
                self.answer(body=True)

            def do_POST(self):
                data = self.rfile.read(int(self.headers.get("Content-Length", 0)))
                server.asked.append(self.path)
                answer = server.posts[self.path](json.loads(data or b"{}"))
                if isinstance(answer, str):  # go there
                    self.send_response(302)
                    self.send_header("Location", server.url + answer)
                    self.send_header("Content-Length", "0")
                    self.end_headers()
                    return
                self.send(200, answer, "application/json")

            def answer(self, body):
                path = self.path.partition("?")[0]
                server.asked.append(path)
                if path not in server.content:
                    self.send(404, b"{}", "application/json")
                    return
                whole = server.content[path]
                if whole.startswith(b"{"):
                    self.send(200, whole if body else b"", "application/json")
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

            def send(self, status, content, kind):
                self.send_response(status)
                self.send_header("Content-Type", kind)
                self.send_header("Content-Length", str(len(content)))
                self.end_headers()
                self.wfile.write(content)

            def log_message(self, *_):
                pass

        self.http = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.url = f"http://127.0.0.1:{self.http.server_port}"
        threading.Thread(target=self.http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering, as if there were no network."""
        self.http.shutdown()
        self.http.server_close()
