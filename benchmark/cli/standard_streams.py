"""The standard streams of a command: closed from the start, or gone while it goes on."""

import os
import sys
from contextlib import suppress


def open_missing() -> None:
    """Open what is missing of standard input, output and error on nothing.

    Started with one of them closed (``<&-``), the next file that is opened would take its number, and what is printed
    would be written into that file.
    """
    for descriptor in (0, 1, 2):
        try:
            os.fstat(descriptor)
        except OSError:
            taken = os.open(os.devnull, os.O_RDWR)  # the lowest number that is free
            if taken != descriptor:
                os.dup2(taken, descriptor)
                os.close(taken)


def silence() -> None:
    """Send to nothing what is still printed: nobody reads any more, after ``| head`` or the end of a terminal."""
    nothing = os.open(os.devnull, os.O_WRONLY)
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            stream.flush()
    for stream in (sys.stdout, sys.stderr):
        with suppress(OSError, ValueError, AttributeError):
            descriptor = stream.fileno()
            os.dup2(nothing, descriptor)
    os.close(nothing)
