"""Sizes of the modules, and how long the command line takes to answer.

    python tests/performance/house_figures.py [--runs 15]

Lines are all lines of the .py files of ``benchmark`` and ``backbones``, empty ones included. A command is timed
from start to exit of its process, after one that is not counted.
"""

import argparse
import statistics
import subprocess
import sys
import time
from pathlib import Path

_HOUSE = Path(__file__).parents[2]
_COMMANDS = (["list"], ["--help"], ["recipe", "default"])


def seconds(arguments: list[str]) -> float:
    """Return the wall seconds of one command."""
    start = time.perf_counter()
    subprocess.run([sys.executable, "-m", "benchmark", *arguments], check=True, stdout=subprocess.DEVNULL)
    return time.perf_counter() - start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--runs", type=int, default=15)
    runs = parser.parse_args().runs
    files = [path for package in ("benchmark", "backbones") for path in (_HOUSE / package).rglob("*.py")]
    lines = {path.relative_to(_HOUSE): len(path.read_text(encoding="utf-8").splitlines()) for path in files}
    largest = max(lines, key=lambda path: lines[path])
    median = statistics.median(lines.values())
    print(f"{len(lines)} modules, median {median:.0f} lines, largest {lines[largest]} ({largest})")
    for arguments in _COMMANDS:
        seconds(arguments)
        taken = [seconds(arguments) for _ in range(runs)]
        command = f"python -m benchmark {' '.join(arguments)}"
        print(f"{command}: median {statistics.median(taken):.3f} s, longest {max(taken):.3f} s")


if __name__ == "__main__":
    main()
