"""What tracing leaves behind in the process, and how it is taken away again."""

from collections.abc import Iterator
from contextlib import contextmanager

from tensorflow.python.framework import ops

_PREFIX = "CustomGradient-"  # how TensorFlow names them, each with a number of its own


@contextmanager
def forgotten_custom_gradients() -> Iterator[None]:
    """Forget the custom gradients that are registered inside, once the graphs that need them are traced.

    TensorFlow keeps every one for ever (``silu`` has one), and with it the graph in which it was traced: 100 MB for
    each EfficientNet that a process trains. There is no public way; where the private one is gone, nothing happens.
    """
    registry = getattr(getattr(ops, "gradient_registry", None), "_registry", {})
    before = set(registry)
    try:
        yield
    finally:
        for name in set(registry) - before:
            if name.startswith(_PREFIX):
                del registry[name]
