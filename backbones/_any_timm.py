"""Every model of timm, as ``timm:NAME``.

What timm knows of its models is read once per version of timm, in a process of its own, and kept: importing timm
takes seconds and brings torch along, which planning must not.
"""

import hashlib
import importlib.util
import json
import os
import re
import subprocess
import sys
from functools import cache, partial
from importlib.metadata import PackageNotFoundError, version
from pathlib import Path
from typing import Any

from backbones._cache import cache_root
from backbones._timm import cached_weights, create
from backbones.registry import Backbone, Preprocessing

_READ_SECONDS = 300


def find(name: str) -> Backbone:
    """Return the backbone for a name that timm knows (``resnet18``, ``resnet18.a1_in1k``).

    Raises:
        KeyError: timm has no such model.
    """
    known = _models().get(name)
    if known is None and importlib.util.find_spec("timm") is not None:
        raise KeyError(f"timm:{name}")
    facts = known or {}  # without timm the run says so: missing_dependency
    mean, std, hub = facts.get("mean"), facts.get("std"), facts.get("hub")
    return Backbone(
        name=f"timm:{name}",
        framework="torch",
        build=partial(create, name),
        library="timm",
        input_size=facts.get("size", 224),
        preprocessing=Preprocessing(mean=tuple(mean), std=tuple(std)) if mean and std else None,
        imagenet=hub,
        local_weights=partial(cached_weights, hub) if hub else None,
        requires=("timm",),
        family=_family(name),
        origin="timm:",
        source_hash=hashlib.sha256(Path(__file__).with_name("_timm.py").read_bytes()).hexdigest(),
    )


def _family(name: str) -> str:
    """Return ``vgg`` of ``vgg16.tv_in1k``, ``vgg_bn`` of ``vgg16_bn``: with BatchNorm it is trained otherwise."""
    architecture = name.partition(".")[0]
    first = re.match(r"(?:tf_)?([a-z]*)", architecture)
    return (first.group(1) if first else "") + ("_bn" if architecture.endswith("_bn") else "")


def known_names() -> tuple[str, ...]:
    """Return all names that :func:`find` accepts, with ``timm:`` before them, sorted."""
    return tuple(sorted(f"timm:{name}" for name in _models()))


@cache
def _models() -> dict[str, dict[str, Any]]:
    """Return what timm says of each of its models, none where timm is not installed or can't be imported."""
    try:
        path = cache_root() / f"timm-{version('timm')}.json"
    except PackageNotFoundError:
        return {}
    try:
        kept: dict[str, dict[str, Any]] = json.loads(path.read_text(encoding="utf-8"))
        return kept
    except (OSError, ValueError):
        pass
    read = subprocess.run(
        [sys.executable, "-m", __name__], capture_output=True, text=True, timeout=_READ_SECONDS, check=False
    )
    if read.returncode:
        raise ImportError(f"timm can't be imported: {(read.stderr.strip().splitlines() or ['no reason given'])[-1]}")
    text = read.stdout.splitlines()[-1]
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        part = path.with_suffix(f".{os.getpid()}.part")
        part.write_text(text, encoding="utf-8")
        part.replace(path)
    except OSError:
        pass  # a cache that can't be written costs the next command a few seconds
    found: dict[str, dict[str, Any]] = json.loads(text)
    return found


def _read_from_timm() -> dict[str, dict[str, Any]]:
    """Return hub id, input size, mean and std of every architecture and every set of weights that timm names."""
    import timm

    models: dict[str, dict[str, Any]] = {}
    for name in (*timm.list_models(), *timm.list_pretrained()):
        known = timm.models.get_pretrained_cfg(name)
        if known is None:
            models[name] = {}
            continue
        colours = len(known.mean) == 3 == len(known.std)
        models[name] = {
            "hub": known.hf_hub_id if known.has_weights else None,
            "size": max(8, int(known.input_size[-1])),
            "mean": list(known.mean) if colours else None,
            "std": list(known.std) if colours else None,
        }
    return models


if __name__ == "__main__":
    print(json.dumps(_read_from_timm()))
