"""Processes that run a module of ours: started, talked with and ended alike, whoever needs one.

A child searches for modules where this process does, in the same order, and nowhere else: the folder in which the
user stands can't put another ``benchmark`` or ``backbones`` in the place of ours. Messages are JSON objects, one a
line; whatever else the child's libraries print goes to its standard error.
"""

import json
import os
import subprocess
import sys
from collections.abc import Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import IO, Any, BinaryIO


def start(
    module: str, *arguments: str, environment: Mapping[str, str] | None = None, **streams: Any
) -> "subprocess.Popen[bytes]":
    """Start ``python -m MODULE ARGUMENTS`` in a session of its own: the terminal's Ctrl-C is for this process, which
    ends the other.

    Args:
        module: dotted name of a module of ours.
        arguments: the arguments of its command line.
        environment: all environment variables, by default this process's; the search path is added.
        streams: ``stdin``, ``stdout`` and ``stderr`` as :class:`subprocess.Popen` takes them. Without ``stdin`` the
            child reads nothing.

    Raises:
        OSError: the process can't be started.
    """
    found_here = [str(Path(place).absolute()) for place in sys.path if isinstance(place, str)]
    return subprocess.Popen(
        [sys.executable, "-P", "-m", module, *arguments],
        env={**(os.environ if environment is None else environment), "PYTHONPATH": os.pathsep.join(found_here)},
        start_new_session=True,
        **{"stdin": subprocess.DEVNULL, **streams},
    )


def run(module: str, *arguments: str, timeout: float | None = None) -> tuple[int, list[dict[str, Any]], str]:
    """Run a module to its end; return its exit code, its messages, and what it wrote to its standard error.

    Raises:
        OSError: the process can't be started.
        subprocess.TimeoutExpired: it took longer than ``timeout`` seconds, and was ended.
    """
    process = start(module, *arguments, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    try:
        written, errors = process.communicate(timeout=timeout)
    finally:
        end(process)
    return process.returncode, list(messages(written.splitlines())), errors.decode("utf-8", errors="replace")


def end(process: "subprocess.Popen[bytes]") -> int:
    """End a process, if it has not ended, and close the pipes to it; return its exit code."""
    process.kill()
    for stream in (process.stdin, process.stdout, process.stderr):
        with suppress(OSError):
            if stream is not None:
                stream.close()
    return process.wait()


def message(line: bytes) -> dict[str, Any] | None:
    """Return the message that a line holds, ``None`` where it holds none: a library may find the descriptor."""
    try:
        values = json.loads(line)
    except (ValueError, RecursionError):
        return None
    return values if isinstance(values, dict) else None


def messages(lines: Iterable[bytes]) -> Iterator[dict[str, Any]]:
    """Yield the messages among lines."""
    yield from filter(None, map(message, lines))


def send(stream: IO[bytes], values: Mapping[str, Any]) -> None:
    """Write one message; what JSON does not know is written as text.

    Raises:
        OSError: nobody reads at the other end.
    """
    stream.write(json.dumps(dict(values), default=str).encode() + b"\n")
    stream.flush()


def take_standard_streams() -> tuple[BinaryIO, BinaryIO]:
    """In the child: return streams to the starter, the one to read and the one to write.

    Standard input is empty from then on, and standard output goes to standard error, so that what other code reads
    or prints in this process can't get between.
    """
    requests, answers = os.fdopen(os.dup(0), "rb"), os.fdopen(os.dup(1), "wb")
    os.dup2(2, 1)
    nothing = os.open(os.devnull, os.O_RDONLY)
    os.dup2(nothing, 0)
    os.close(nothing)
    return requests, answers
