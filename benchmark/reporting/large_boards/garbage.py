"""Python's search for garbage, which would look through the millions of objects of a large board again and again."""

import gc
from collections.abc import Iterator
from contextlib import contextmanager


@contextmanager
def uncollected() -> Iterator[None]:
    """Look for no garbage within the block, which makes millions of objects that all stay."""
    was_on = gc.isenabled()
    gc.disable()
    try:
        yield
    finally:
        if was_on:
            gc.enable()


@contextmanager
def left_alone() -> Iterator[None]:
    """Look for garbage only among objects that are made within the block.

    A copy of the process that starts within the block has its memory in common with this one for longer, too: to look
    at an object is to write to it.
    """
    gc.freeze()
    try:
        yield
    finally:
        gc.unfreeze()
