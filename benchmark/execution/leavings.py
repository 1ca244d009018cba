"""What a run leaves in its process: given back before the next one, so that a used process is as good as new."""

import contextlib
import ctypes
import gc
import sys
from pathlib import Path


def give_memory_back() -> None:
    """Free what a run that is over held, on the device and in the process, and count the peak of memory anew.

    Only frameworks that the run imported are asked.
    """
    keras, torch = sys.modules.get("keras"), sys.modules.get("torch")
    if keras is not None:
        keras.utils.clear_session()
    if torch is not None and "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if torch is not None and torch.cuda.is_available():
        torch.cuda.empty_cache()
    if sys.platform == "linux":
        with contextlib.suppress(OSError, AttributeError):
            ctypes.CDLL(None).malloc_trim(0)
        with contextlib.suppress(OSError):
            Path("/proc/self/clear_refs").write_text("5", encoding="ascii")  # the peak is what is resident now
