"""Work that is done in a process of its own while this one goes on: drawing keeps the interpreter to itself."""

import os
from collections.abc import Callable, Iterator
from contextlib import contextmanager

from benchmark.data.preparation.process_copy import end_copy, start_copy


@contextmanager
def done_beside(work: Callable[[], object], *, beside: bool) -> Iterator[None]:
    """Have something done while the block goes on, at the latest when it ends.

    A copy of this process does it, which shares its memory until one of the two writes there, and leaves nothing but
    the files that it writes. Where that fails for whatever reason it is done here, so that errors are raised here.

    Args:
        work: what is to be done; it prints nothing.
        beside: whether a copy may do it; else it is done here, after the block.
    """
    child = start_copy(work) if beside else None
    try:
        yield
        done = child is not None and os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0
    except BaseException:
        if child is not None:
            end_copy(child)
        raise
    if not done:
        work()
