"""TumorBoard by its own name: ``import tumorboard`` gives what ``import benchmark`` gives.

The packages are called ``benchmark`` and ``backbones``, names that a user's own folder may have too. So nothing is
imported from them before it is asked for, and the installed command says where another stands in their place.
"""

import importlib.util
import sys
from pathlib import Path
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from benchmark import *  # noqa: F403


def __getattr__(name: str) -> Any:
    import benchmark

    return getattr(benchmark, name)


def __dir__() -> list[str]:
    import benchmark

    return dir(benchmark)


def main() -> int:
    """Run the installed command; return its exit code, 2 where Python finds another ``benchmark`` than ours."""
    here = Path(__file__).resolve().parent
    beside = [place / "benchmark" for place in (here.parent, here.parents[2])]  # installed, and in a checkout
    spec = importlib.util.find_spec("benchmark")
    if spec is None or not any(Path(place).resolve() in beside for place in spec.submodule_search_locations or []):
        print(
            f"Python finds a module 'benchmark' of yours ({spec and spec.origin}) in place of TumorBoard's: take its "
            "folder out of PYTHONPATH, or rename it.",
            file=sys.stderr,
        )
        return 2
    from benchmark.cli.main import main as run

    return run()
