"""Trackers of an installed package: one writes down what it is told, the others fail in all the ways there are."""

import json
import os
import sys
import time
from pathlib import Path
from typing import Any

PACKAGE = {
    "recorder": "tests.tracking.recorder:Recorder",
    "raising": "tests.tracking.recorder:raising",
    "leaving": "tests.tracking.recorder:leaving",
    "crashing": "tests.tracking.recorder:crashing",
    "silent": "tests.tracking.recorder:Silent",
}


def install(site: Path) -> dict[str, str]:
    """Write the metadata of a package with these trackers; return the environment in which it is found."""
    folder = site / "some_trackers-1.0.dist-info"
    folder.mkdir(parents=True)
    (folder / "METADATA").write_text("Metadata-Version: 2.1\nName: some-trackers\nVersion: 1.0\n")
    lines = ["[tumorboard.trackers]", *(f"{name} = {value}" for name, value in PACKAGE.items())]
    (folder / "entry_points.txt").write_text("\n".join(lines) + "\n")
    root = Path(__file__).parents[2]
    return {**os.environ, "PYTHONPATH": os.pathsep.join((str(root), str(site))), "OMP_NUM_THREADS": "1"}


class Recorder:
    """Writes each call as a line of JSON into ``told.jsonl`` in the results folder."""

    def __init__(self, place: Any) -> None:
        self._path = place.out / "told.jsonl"
        self._tell("open", place.where)

    def __getattr__(self, name: str) -> Any:
        return lambda *arguments: self._tell(name, *arguments)

    def _tell(self, name: str, *arguments: Any) -> int:
        with self._path.open("a") as stream:
            said = [each.model_dump(mode="json") if hasattr(each, "model_dump") else each for each in arguments]
            stream.write(json.dumps([name, *said], default=lambda each: getattr(each, "value", str(each))) + "\n")
        return 0


def raising(place: Any) -> Any:
    raise ValueError("the server\nis gone.")


def leaving(place: Any) -> Any:
    sys.exit("no account")


def crashing(place: Any) -> Any:
    os._exit(9)


class Silent(Recorder):
    """Never comes back from what it is told."""

    def begin(self, run: Any) -> int:
        time.sleep(600)
        return 0
