"""What TensorFlow raises, as the outcomes that say so."""

import contextlib
from collections.abc import Iterator

import tensorflow as tf

from benchmark.engines.shared import out_of_memory


@contextlib.contextmanager
def failures() -> Iterator[None]:
    """Turn lack of memory into the outcome that says so."""
    try:
        yield
    except (tf.errors.ResourceExhaustedError, MemoryError) as error:
        raise out_of_memory() from error
    except tf.errors.InternalError as error:
        if "out of memory" not in str(error).lower():
            raise
        raise out_of_memory() from error
