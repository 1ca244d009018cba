"""Provenance: what a result may depend on beyond its run's identity, for the record."""

import os
import platform
import subprocess
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from benchmark.engines import library_packages
from benchmark.execution.planning.devices import nvidia_smi
from benchmark.host import installed_versions, processor
from benchmark.version import __version__

_THREAD_VARIABLES = ("OMP_NUM_THREADS", "MKL_NUM_THREADS", "TF_NUM_INTRAOP_THREADS", "TF_NUM_INTEROP_THREADS")


def describe(device_kind: str, engine: str, threads: str) -> dict[str, Any]:
    """Return this process's versions, machine and threads, JSON-ready.

    Args:
        device_kind: ``cpu`` or ``cuda``; the GPU and its driver are looked up for the latter.
        engine: its name.
        threads: how many compute one operation on the CPU, as the engine says; empty where it does not.
    """
    facts: dict[str, Any] = {
        "tumorboard": __version__,
        "git_commit": git_commit(),
        "python": platform.python_version(),
        "libraries": installed_versions(("numpy", "pillow", *library_packages(), "safetensors")),
        "host": platform.node(),
        "platform": platform.platform(),
        "cpu": processor(),
        "cpu_count": len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count(),
        "threads": {name: os.environ[name] for name in _THREAD_VARIABLES if name in os.environ},
        "at": datetime.now(UTC).isoformat(timespec="seconds"),
    }
    if device_kind == "cuda":
        name, _, driver = next(iter(nvidia_smi("--query-gpu=name,driver_version")), "").partition(",")
        facts |= {"gpu": name.strip(), "driver": driver.strip()}
    if threads:
        facts["threads"][engine] = threads
    return facts


def git_commit() -> str | None:
    """Return the commit of the checkout that this package runs from, with ``+`` where files were changed."""
    root = Path(__file__).parents[3]
    if not (root / ".git").exists():
        return None
    try:
        commit = _git(root, "rev-parse", "HEAD")
        changed = _git(root, "status", "--porcelain", "--untracked-files=no")
    except (OSError, subprocess.SubprocessError):
        return None
    return commit + ("+" if changed else "")


def _git(root: Path, *arguments: str) -> str:
    answer = subprocess.run(
        ["git", "-C", str(root), *arguments], capture_output=True, text=True, timeout=10, check=True
    )
    return answer.stdout.strip()


def differences(before: dict[str, Any], now: dict[str, Any]) -> list[str]:
    """Return what a resumed run finds changed, one clause each; results may differ where any is."""
    changed = [
        f"{name} was {before.get(name)}, is {now.get(name)}"
        for name in ("tumorboard", "git_commit", "python", "host", "cpu", "gpu", "driver")
        if before.get(name) != now.get(name)
    ]
    old, new = before.get("libraries", {}), now.get("libraries", {})
    return changed + [
        f"{name} was {old.get(name)}, is {new.get(name)}"
        for name in sorted({*old, *new})
        if old.get(name) != new.get(name)
    ]
