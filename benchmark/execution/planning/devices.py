"""Which device a run gets, found without importing a framework into this process.

A GPU is used only where the driver shows one and the framework sees it. The driver is asked first, at no cost;
only where it shows a GPU is the framework asked, in a process of its own (``python -m
benchmark.execution.planning.devices torch``).
"""

import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import asdict, dataclass
from pathlib import Path

from benchmark.child_process import run, send, take_standard_streams
from benchmark.engines import engine_entry
from benchmark.errors import UserError
from benchmark.host import multiplies_bfloat16, processor
from benchmark.text import plain

_PROBE_SECONDS = 120


@dataclass(frozen=True)
class DeviceChoice:
    """A kind of device, its name, and whether it computes in bfloat16 natively."""

    kind: str
    name: str
    bfloat16: bool = False


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


class _NoAnswer(Exception):
    """Says in a clause why a framework could not be asked."""


def choose_devices(
    device: str, engines: "set[str]", say: Callable[[str], None] = lambda _: None
) -> dict[str, DeviceChoice]:
    """Return the device of each engine.

    Args:
        device: ``auto``, ``cpu`` or ``cuda``.
        engines: names of engines.
        say: gets a sentence where a framework could not be asked, and its runs therefore go to the CPU.

    Raises:
        UserError: ``cuda`` where the machine has no GPU.
    """
    cpu = DeviceChoice("cpu", processor(), multiplies_bfloat16())
    if device == "cpu" or not driver_shows_gpu():
        if device == "cuda":
            raise UserError("--device cuda: NVIDIA's driver shows no GPU on this machine; use --device cpu.")
        return dict.fromkeys(engines, cpu)
    gpus: dict[str, DeviceChoice | None] = {}
    for engine in sorted(engines):
        try:
            gpus[engine] = _ask(engine)
        except _NoAnswer as error:
            gpus[engine] = None
            if device != "cuda":
                say(f"{engine} could not be asked whether it sees the GPU ({error}); its runs go to the CPU.")
    # asked for by name, a GPU that the framework doesn't see must fail the run and not slip to the CPU
    fallback = DeviceChoice("cuda", "GPU") if device == "cuda" else cpu
    return {engine: gpu or fallback for engine, gpu in gpus.items()}


def _ask(engine: str) -> DeviceChoice | None:
    """Return the GPU that a framework sees, asked in a process of its own; ``None`` where it sees none.

    Raises:
        _NoAnswer: the process did not say.
    """
    try:
        code, answers, errors = run("benchmark.execution.planning.devices", engine, timeout=_PROBE_SECONDS)
    except (OSError, subprocess.SubprocessError) as error:
        raise _NoAnswer(str(error)) from error
    if code != 0 or not answers:
        raise _NoAnswer(plain((errors.strip().splitlines() or [f"exit code {code}"])[-1]))
    gpu = answers[-1]["gpu"]
    return DeviceChoice("cuda", **gpu) if gpu else None


if __name__ == "__main__":
    _, answers = take_standard_streams()
    seen = engine_entry(sys.argv[1]).visible_gpu()
    send(answers, {"gpu": asdict(seen) if seen else None})
