"""A server on the loopback that answers in threads of this process, for tests of what fetches and publishes."""

import json
import threading
from collections.abc import Mapping
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any


class Answering(BaseHTTPRequestHandler):
    """Answers requests in silence."""

    def body(self) -> bytes:
        """Return what was sent with the request."""
        return self.rfile.read(int(self.headers.get("Content-Length", 0)))

    def send(
        self, status: int, content: Any, kind: str = "application/json", headers: Mapping[str, str] | None = None
    ) -> None:
        """Answer with bytes as they are, or anything else as JSON."""
        data = content if isinstance(content, bytes) else json.dumps(content).encode()
        self.send_response(status)
        self.send_header("Content-Type", kind)
        self.send_header("Content-Length", str(len(data)))
        for name, value in (headers or {}).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(data)

    def log_message(self, *_: Any) -> None:
        """Say nothing."""


class LocalServer:
    """Answers by a handler of its own, from when it is made until it is closed."""

    def __init__(self, handler: type[Answering]) -> None:
        self._http = ThreadingHTTPServer(("127.0.0.1", 0), handler)
        self.url = f"http://127.0.0.1:{self._http.server_port}"
        threading.Thread(target=self._http.serve_forever, daemon=True).start()

    def close(self) -> None:
        """Stop answering, as if there were no network."""
        self._http.shutdown()
        self._http.server_close()
