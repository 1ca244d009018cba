"""Watches what a piece of code takes and where it writes, for tests of files that strangers made."""

import os
import resource
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hypothesis import HealthCheck, settings

MOST_SECONDS, MOST_BYTES = 10.0, 2**30
# How many times as many examples fuzzers try, and other ones each time: TUMORBOARD_FUZZ=50 pytest -k whatever
_TIMES = int(os.environ.get("TUMORBOARD_FUZZ", "1"))
_WRITES = os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC | os.O_APPEND
# Audit events that change files, and which of their arguments are paths.
_CHANGES = {
    "os.mkdir": (0,), "os.rename": (0, 1), "os.remove": (0,), "os.rmdir": (0,), "os.link": (0, 1), "os.symlink": (1,),
    "os.truncate": (0,), "os.chmod": (0,), "os.chown": (0,), "shutil.copyfile": (1,), "shutil.move": (0, 1),
}  # fmt: skip
_folders: list[Path] = []
_strays: list[str] = []
_hooked = False


def fuzzed(examples: int) -> settings:
    """Return how a fuzzer is run: the same examples each time, or as many more as the environment asks for."""
    checks = [HealthCheck.function_scoped_fixture, HealthCheck.too_slow, HealthCheck.data_too_large]
    return settings(
        max_examples=_TIMES * examples, deadline=None, derandomize=_TIMES == 1, suppress_health_check=checks
    )


@contextmanager
def watched(out: Path, seconds: float = MOST_SECONDS, memory: int = MOST_BYTES) -> Iterator[None]:
    """Assert that the block writes below one folder only, and takes no more than so many seconds and bytes.

    What was computed of a row may be kept in this user's own cache, under the name of a hash. Modules that the block
    is the first to import are not compiled to files beside them.

    Args:
        out: the folder.
        seconds: of this process's own computing, so that other work on the machine does not count.
        memory: by how many bytes the largest memory that this process ever had may grow.
    """
    _hook()
    _strays.clear()
    _folders.append(out.resolve())
    compiles, sys.dont_write_bytecode = sys.dont_write_bytecode, True
    before, start = _most_memory(), time.process_time()
    try:
        yield
    finally:
        _folders.pop()
        sys.dont_write_bytecode = compiles
    assert not _strays, f"written elsewhere: {_strays}"
    taken, grown = time.process_time() - start, _most_memory() - before
    assert taken < seconds, f"it took {taken:.1f} s"
    assert grown < memory, f"it took {grown / 2**20:.0f} MiB"


def _most_memory() -> int:
    """Return the most bytes that this process ever had in memory."""
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * (1 if sys.platform == "darwin" else 1024)


def _hook() -> None:
    global _hooked
    if not _hooked:
        _hooked = True
        sys.addaudithook(_look)  # it can't be taken away again, and sleeps while nothing is watched


def _look(event: str, arguments: tuple[Any, ...]) -> None:
    if not _folders:
        return
    if event == "open":
        path, _, flags = arguments
        places = [path] if isinstance(flags, int) and flags & _WRITES else []
    else:
        places = [arguments[place] for place in _CHANGES.get(event, ())]
    for place in places:
        if not isinstance(place, (str, bytes, os.PathLike)) or place == os.devnull:
            continue
        path = Path(_folder_of(arguments) if event != "open" else "", os.fsdecode(place))
        target = path.parent.resolve() / path.name  # what a link at its end points to is not changed, but the link
        if not target.is_relative_to(_folders[-1]) and not _is_kept(target):
            _strays.append(f"{event} {target}")


def _is_kept(target: Path) -> bool:
    """Return whether a path is that of an entry of the statistics in this user's cache, or on the way to one."""
    kept = Path(os.environ["TUMORBOARD_CACHE"]).resolve() / "statistics"
    if kept.is_relative_to(target):
        return target == kept or target == kept.parent
    below = target.relative_to(kept).parts if target.is_relative_to(kept) else ()
    hashes = [part.removeprefix(".unfinished-").removesuffix(".npz").removesuffix(".json") for part in below]
    return 1 <= len(below) <= 2 and all(set(name) <= set("0123456789abcdef-") for name in hashes)


def _folder_of(arguments: tuple[Any, ...]) -> str:
    """Return the folder to which a relative path belongs: that of an open descriptor, or the present one."""
    descriptor = arguments[-1]
    if isinstance(descriptor, int) and descriptor > 0 and len(arguments) > 1 and sys.platform == "linux":
        try:
            return os.readlink(f"/proc/self/fd/{descriptor}")  # noqa: PTH115 (within an audit hook, as little as can be)
        except OSError:
            return ""
    return ""
