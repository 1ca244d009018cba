"""The device as TensorFlow and the driver see it: choosing it, its name, its memory."""

import ctypes
import os
import sys

import keras
import tensorflow as tf

from benchmark.data.preparation.threads import usable_cpus
from benchmark.engines.base import Device, Gpu
from benchmark.engines.shared import cpu
from benchmark.records.outcomes import Outcome, RunFailure


def open_device(kind: str) -> tuple[Device, str]:
    """Return a device and TensorFlow's name for it; on a GPU, memory then grows as it is needed.

    Raises:
        RunFailure: ``unsupported`` where TensorFlow does not see a GPU.
    """
    if kind == "cpu":
        return cpu(), "/CPU:0"
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        raise RunFailure(
            Outcome.UNSUPPORTED, "TensorFlow sees no GPU here: use --device cpu, or install tensorflow[and-cuda]."
        )
    try:
        for gpu in gpus:
            tf.config.experimental.set_memory_growth(gpu, True)
    except RuntimeError:  # an engine of this process has used the GPU already, and has set it so
        pass
    name = str(tf.config.experimental.get_device_details(gpus[0]).get("device_name", gpus[0].name))
    return Device("cuda", name, _gpu_memory()[1]), "/GPU:0"


def visible_gpu() -> Gpu | None:
    """Return the GPU that TensorFlow sees. It computes in bfloat16 natively from compute capability 8.0 on."""
    gpus = tf.config.list_physical_devices("GPU")
    if not gpus:
        return None
    details = tf.config.experimental.get_device_details(gpus[0])
    major, _ = details.get("compute_capability", (0, 0))
    return Gpu(str(details.get("device_name", "GPU")), major >= 8)


def free_memory() -> None:
    """Free the names that Keras keeps of a finished run's layers."""
    keras.utils.clear_session()


def threads() -> int:
    """Return how many threads compute one operation on the CPU; TensorFlow says 0 where it was left to choose."""
    variable = os.environ.get("TF_NUM_INTRAOP_THREADS", "")
    from_environment = int(variable) if variable.isdigit() else 0
    return int(tf.config.threading.get_intra_op_parallelism_threads()) or from_environment or usable_cpus()


def free_gpu_bytes() -> int:
    """Return what no process has claimed of the first GPU's memory."""
    return _gpu_memory()[0]


def _gpu_memory() -> tuple[int, int]:
    """Return free and total bytes of the first GPU, from the driver; TensorFlow does not say."""
    driver = ctypes.CDLL("nvcuda.dll" if sys.platform == "win32" else "libcuda.so.1")
    device, context = ctypes.c_int(), ctypes.c_void_p()
    free, total = ctypes.c_size_t(), ctypes.c_size_t()
    calls = [
        driver.cuInit(0),
        driver.cuDeviceGet(ctypes.byref(device), 0),
        driver.cuDevicePrimaryCtxRetain(ctypes.byref(context), device),
        driver.cuCtxPushCurrent_v2(context),
        driver.cuMemGetInfo_v2(ctypes.byref(free), ctypes.byref(total)),
        driver.cuCtxPopCurrent_v2(ctypes.byref(context)),
        driver.cuDevicePrimaryCtxRelease_v2(device),
    ]
    if any(calls):
        raise RuntimeError(f"the CUDA driver does not tell the GPU's memory (status codes {calls})")
    return free.value, total.value
