"""Results folders with simulated runs in them."""

from collections.abc import Callable, Iterable, Iterator
from functools import partial
from pathlib import Path

import pandas as pd
import pytest
from all_tables import write_tables
from foreign import GOOD, OTHER, used

from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.records.record import Predictions, Record
from benchmark.records.store import RecordStore
from benchmark.reporting.leaderboard import read_board

Runs = Iterable[tuple[Record, Predictions | None]]


@pytest.fixture(scope="module", autouse=True)
def few_resamples() -> Iterator[None]:
    """Resample less: whether intervals cover is asked in tests/evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.evaluation.statistics.Bootstrap", partial(Bootstrap, resamples=300))
        yield


@pytest.fixture
def undrawn(monkeypatch: pytest.MonkeyPatch) -> None:
    """Leave out the pictures, which take most of the time, where a test asks for tables and pages alone."""
    for place in ("figures.plots.write_plots", "figures.cams.write_cam_plots", "documents.gallery.write_gallery"):
        monkeypatch.setattr(f"benchmark.reporting.{place}", lambda *_: None)


@pytest.fixture
def results(tmp_path: Path) -> Callable[[Runs], Path]:
    """Return a function that stores runs in one results folder, and returns the folder."""

    def store(runs: Runs) -> Path:
        for record, predictions in runs:
            RecordStore(tmp_path).write(record, predictions)
        return tmp_path

    return store


@pytest.fixture
def tables(results: Callable[[Runs], Path]) -> Callable[[Runs], tuple[pd.DataFrame, pd.DataFrame, str]]:
    """Return a function that writes the tables of runs and reads them back: runs, leaderboard, Markdown."""

    def write(runs: Runs) -> tuple[pd.DataFrame, pd.DataFrame, str]:
        out = results(runs)
        write_tables(read_board(out), out)
        frames = [
            pd.read_csv(out / name, keep_default_na=False, na_values=[""]) for name in ("runs.csv", "leaderboard.csv")
        ]
        return frames[0], frames[1], (out / "leaderboard.md").read_text()

    return write


@pytest.fixture(scope="module")
def tables_of_the_good(tmp_path_factory: pytest.TempPathFactory) -> list[str]:
    """Return the tables of the two good runs of :mod:`foreign`, without a third."""
    out = tmp_path_factory.mktemp("good")
    RecordStore(out).write(*GOOD)
    RecordStore(out).write(*OTHER)
    return used(out)[1]
