"""``--note`` keeps the user's words with the runs of a command."""

from pathlib import Path

import pytest

from benchmark import load_results
from benchmark.cli.main import cli, main
from benchmark.execution.planning.request import request_of
from benchmark.records.record import Record
from benchmark.records.settings import Settings
from benchmark.records.store import RecordStore
from tests.execution.samples import a_record, some_predictions


def stored(out: Path, note: str) -> Record:
    """Store a record of a run that was done with a note."""
    options = dict(cli.make_context("benchmark", ["--all", "--note", note]).params)
    del options["debug"]
    record = a_record().model_copy(update={"settings": request_of(options).settings})
    RecordStore(out).write(record, some_predictions())
    return record


def test_it_is_stored_on_one_line_and_shown_with_the_run(tmp_path: Path) -> None:
    record = stored(tmp_path, "new  scanner,\nday\x1b two")
    assert record.settings == Settings(note="new scanner, day\ufffd two")
    assert load_results(tmp_path).runs["run_note"].tolist() == ["new scanner, day\ufffd two"]


@pytest.mark.parametrize("settings", [None, Settings()])
def test_runs_without_one_have_none(tmp_path: Path, settings: Settings | None) -> None:
    RecordStore(tmp_path).write(a_record().model_copy(update={"settings": settings}), some_predictions())
    assert load_results(tmp_path).runs["run_note"].isna().all()


def test_one_that_is_too_long_is_refused(capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["--all", "--note", "x" * 1001]) == 2
    assert capsys.readouterr().err == "--note: String should have at most 1000 characters.\n"
