"""Which device a run gets, found without importing a framework into this process.

A GPU is used only where the driver shows one and the framework sees it. The driver is asked first, at no cost;
only where it shows a GPU is the framework asked, in a process of its own (``python -m
benchmark.execution.planning.devices torch``).
"""

import json
import platform
import shutil
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.engines import engine_entry
from benchmark.errors import UserError

_PROBE_SECONDS = 120


@dataclass(frozen=True)
class DeviceChoice:
    """A kind of device, its name, and whether it computes in bfloat16 natively."""

    kind: str
    name: str
    bfloat16: bool = False


def cpu_name() -> str:
    """Return the processor's model name."""
    cpuinfo = Path("/proc/cpuinfo")
    if cpuinfo.is_file():
        for line in cpuinfo.read_text(encoding="utf-8", errors="replace").splitlines():
            if line.startswith("model name"):
                return line.partition(":")[2].strip()
    return platform.processor() or platform.machine()


def driver_shows_gpu() -> bool:
    """Return whether NVIDIA's driver lists a GPU on this machine."""
    listed = Path("/proc/driver/nvidia/gpus")
    if listed.is_dir() and any(listed.iterdir()):
        return True
    return bool(nvidia_smi("--query-gpu=name"))


def nvidia_smi(query: str) -> list[str]:
    """Return the lines that ``nvidia-smi`` answers, none where it is absent or fails."""
    program = shutil.which("nvidia-smi")
    if program is None:
        return []
    try:
        answer = subprocess.run(
            [program, query, "--format=csv,noheader"], capture_output=True, text=True, timeout=30, check=True
        )
    except (OSError, subprocess.SubprocessError):
        return []
    return [line.strip() for line in answer.stdout.splitlines() if line.strip()]


def choose_devices(wanted: str, engines: "set[str]") -> dict[str, DeviceChoice]:
    """Return the device of each engine.

    Args:
        wanted: ``auto``, ``cpu`` or ``cuda``.
        engines: their names.

    Raises:
        UserError: ``cuda`` where the machine has no GPU.
    """
    cpu = DeviceChoice("cpu", cpu_name())
    if wanted == "cpu" or not driver_shows_gpu():
        if wanted == "cuda":
            raise UserError("--device cuda: NVIDIA's driver shows no GPU on this machine; use --device cpu.")
        return dict.fromkeys(engines, cpu)
    chosen = {engine: _ask(engine) for engine in sorted(engines)}
    # asked for by name, a GPU that the framework doesn't see must fail the run and not slip to the CPU
    fallback = DeviceChoice("cuda", "GPU") if wanted == "cuda" else cpu
    return {engine: found or fallback for engine, found in chosen.items()}


def _ask(engine: str) -> DeviceChoice | None:
    """Return the GPU that a framework sees, asked in a process of its own."""
    try:
        answer = subprocess.run(
            [sys.executable, "-m", __spec__.name if __spec__ else __name__, engine],
            capture_output=True,
            text=True,
            timeout=_PROBE_SECONDS,
            check=True,
        )
        found = json.loads(answer.stdout.splitlines()[-1])
    except (OSError, subprocess.SubprocessError, ValueError, IndexError):
        return None
    return DeviceChoice(**found) if found else None


def _look(engine: str) -> DeviceChoice | None:
    """Import an engine's framework and return the GPU that it sees."""
    gpu = engine_entry(engine).visible_gpu()
    return None if gpu is None else DeviceChoice("cuda", gpu.name, gpu.bfloat16)


if __name__ == "__main__":
    choice = _look(sys.argv[1])
    print(json.dumps(asdict(choice) if choice else None))
