"""TensorFlow, and Keras on it, imported without a word on the terminal; whoever needs them first comes here."""

import contextlib
import os
import sys
import tempfile
from collections.abc import Iterator

from benchmark.records.outcomes import Outcome, RunFailure


@contextlib.contextmanager
def _quiet() -> Iterator[None]:
    """Keep what TensorFlow's C++ code writes while it is imported off the terminal, unless the import fails."""
    sys.stderr.flush()
    terminal = os.dup(2)
    with tempfile.TemporaryFile() as messages:
        os.dup2(messages.fileno(), 2)
        try:
            yield
        except BaseException:
            messages.seek(0)
            os.write(terminal, messages.read())
            raise
        finally:
            os.dup2(terminal, 2)
            os.close(terminal)


os.environ["KERAS_BACKEND"] = "tensorflow"
os.environ.setdefault("TF_CPP_MIN_LOG_LEVEL", "3")
try:
    with _quiet():
        import keras
        import tensorflow as tf
except Exception as error:  # a broken installation may raise anything
    raise RunFailure(
        Outcome.MISSING_DEPENDENCY, f"TensorFlow can't be imported: {type(error).__name__}: {error}"
    ) from error

__all__ = ["keras", "tf"]
