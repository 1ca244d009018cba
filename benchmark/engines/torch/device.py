"""The device as torch sees it, and the process-wide settings that decide how torch computes."""

import gc
import os
import sys

import torch

from benchmark.engines.base import Device, Gpu
from benchmark.engines.shared import cpu
from benchmark.records.outcomes import Outcome, RunFailure


def open_device(kind: str) -> Device:
    """Return a device; on a GPU the allocator's peak is counted from now.

    Raises:
        RunFailure: ``unsupported`` where torch does not see a GPU.
    """
    if kind == "cpu":
        return cpu()
    if not torch.cuda.is_available():
        raise RunFailure(
            Outcome.UNSUPPORTED, "torch sees no GPU here: use --device cpu, or install a torch with CUDA."
        )
    torch.cuda.reset_peak_memory_stats()
    gpu = torch.cuda.get_device_properties(0)
    return Device("cuda", str(gpu.name), int(gpu.total_memory))


def set_arithmetic(*, tf32: bool, deterministic: bool) -> None:
    """Set, for the whole process, all that torch leaves to global switches, either way.

    Denormals are flushed, as in TensorFlow. The flag belongs to a thread and is inherited by those it starts, so
    this must come before the first parallel operation.
    """
    torch.set_flush_denormal(True)
    torch.backends.cuda.matmul.allow_tf32 = tf32
    torch.backends.cudnn.allow_tf32 = tf32
    torch.backends.cudnn.benchmark = not deterministic
    torch.backends.cudnn.deterministic = deterministic
    if deterministic:
        os.environ["CUBLAS_WORKSPACE_CONFIG"] = ":4096:8"  # read when cuBLAS starts
    torch.use_deterministic_algorithms(deterministic)


def seed_generators(seed: int) -> None:
    """Seed the generators of the CPU and of every GPU.

    ``torch.manual_seed`` seeds those of every kind of device; for each kind that is not there it formats a stack
    trace and keeps it, which costs more than a step of a small head.
    """
    torch.default_generator.manual_seed(seed)
    if torch.cuda.is_initialized():
        torch.cuda.manual_seed_all(seed)


def visible_gpu() -> Gpu | None:
    """Return the GPU that torch sees. It computes in bfloat16 natively from compute capability 8.0 on."""
    if not torch.cuda.is_available():
        return None
    major, _ = torch.cuda.get_device_capability(0)
    return Gpu(str(torch.cuda.get_device_name(0)), major >= 8)


def free_memory() -> None:
    """Free what a finished run left: names of Keras's layers, compiled functions, unused memory of the GPU."""
    if "keras" in sys.modules:
        sys.modules["keras"].utils.clear_session()
    if "torch._dynamo" in sys.modules:
        torch._dynamo.reset()
    gc.collect()
    if torch.cuda.is_available():
        torch.cuda.empty_cache()
