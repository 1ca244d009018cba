"""Whether a server answers, found out within seconds, before a library's downloader tries for minutes."""

import socket
import threading
import urllib.error
import urllib.request
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

PROBE_SECONDS = 10.0


def answers(url: str, seconds: float = PROBE_SECONDS) -> bool:
    """Return whether a server says anything within some seconds in all.

    A timeout of the request alone is not enough: a name may be looked up for half a minute, each of several addresses
    be tried for as long, and a server send a letter now and then.
    """
    answered = threading.Event()
    ended = threading.Event()

    def ask() -> None:
        try:
            request = urllib.request.Request(url, method="HEAD")
            with urllib.request.urlopen(request, timeout=seconds):
                answered.set()
        except urllib.error.HTTPError:
            answered.set()
        except (OSError, ValueError):
            pass
        finally:
            ended.set()

    threading.Thread(target=ask, daemon=True, name="probe").start()
    ended.wait(seconds)
    return answered.is_set()


@contextmanager
def without_network(reason: str) -> Iterator[None]:
    """Let every look-up of a name fail at once inside: a downloader that finds no file of its own gives up."""
    before = socket.getaddrinfo

    def unreachable(*_: Any, **__: Any) -> Any:
        raise socket.gaierror(socket.EAI_NONAME, reason)

    socket.getaddrinfo = unreachable
    try:
        yield
    finally:
        socket.getaddrinfo = before
