"""Where the time of runs went, from the records of a results folder.

    python -m benchmark --backbone torch/baseline_cnn keras/baseline_cnn --recipe quick --out DIR
    python tests/performance/where_time_goes.py DIR

Each line is a run, in seconds. ``epochs`` is training and validation, ``waiting`` the share of training that waited
for data, ``outside`` all that is neither import of the framework nor building, compiling and epochs. Its parts
follow; ``rest`` is the process's start, opening the data, provenance and storing the record.
"""

import argparse
from pathlib import Path

from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore

_PARTS = ("checkpoint", "evaluation", "throughput", "cam", "rest")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path)
    columns = ("total", "import", "build", "compile", "epochs", "waiting", "outside", *_PARTS)
    print(f"{'run':32}" + "".join(f"{name:>11}" for name in columns))
    for record, _ in RecordStore(parser.parse_args().results).read_all():
        if record.outcome is not Outcome.OK:
            continue
        seconds = {name.removesuffix("_s"): value for name, value in record.timings.model_dump().items()}
        known = sum(value for name, value in seconds.items() if name != "total")
        training = seconds["compute"] + seconds["data"] + seconds["harness"]
        seconds |= {"rest": seconds["total"] - known, "epochs": training + seconds["validation"]}
        seconds["outside"] = sum(seconds[name] for name in _PARTS)
        shown = (
            f"{seconds['data'] / training:10.2%} " if name == "waiting" else f"{seconds[name]:10.2f} "
            for name in columns
        )
        print(f"{record.backbone.name:32}" + "".join(shown).rstrip())


if __name__ == "__main__":
    main()
