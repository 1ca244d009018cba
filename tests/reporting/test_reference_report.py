"""A suite's runs are set beside the figures that they repeat, and say which of their conclusions survive."""

import csv
from collections.abc import Callable, Mapping
from pathlib import Path

import pytest

from benchmark.recipe import Recipe
from benchmark.recipe.suite import load_suite
from benchmark.records.outcomes import Outcome
from benchmark.records.suite_membership import save_experiments
from benchmark.reporting.documents.reference_report import with_reports
from benchmark.reporting.leaderboard import read_board
from tests.reporting.conftest import Runs
from tests.reporting.simulated import Reader, Study

STUDY = Study("nickparvar-v1", synthetic=False, grouped=False, patients=120, leaks=("copies",))
# how well each run reads; rotation and the destroyed brightness much worse, flips as well as nothing
SKILLS = {"baseline": 3.0, "flip": 3.0, "rotation": 1.2, "brightness, as written": 0.2, "brightness, corrected": 3.0}


def runs_of(skills: Mapping[str, float], **changes: int) -> tuple[dict[str, list[str]], Runs]:
    """Return keys by entry of the suite, and runs; what has no variant is one run for both."""
    members: dict[str, list[str]] = {}
    runs = []
    for number, (name, skill) in enumerate(skills.items()):
        reader = Reader("keras/baseline_cnn", "tensorflow", skill, 1000.0, 600.0, 3.3, 0.1)
        record, predictions = STUDY.run(reader, recipe=Recipe(epochs=10 + number, size=128, **changes))
        runs.append((record, predictions))
        for how in ("as written", "corrected"):
            entry = name if ", " in name else f"{name}, {how}"
            members.setdefault(entry, [])
            if record.key not in members[entry]:
                members[entry].append(record.key)
    return members, runs


@pytest.fixture
def report(results: Callable[[Runs], Path]) -> str:
    members, runs = runs_of(SKILLS)
    child, _ = STUDY.run(
        Reader("keras/resnet50", "tensorflow", 3.0, 70.0, 2000.0, 23.6, 1.3),
        outcome=Outcome.MISSING_WEIGHTS, reason="they can't be fetched",
    )  # fmt: skip
    out = results([*runs, (child, None)])
    save_experiments(out, load_suite("seed-notebook"), {**members, "resnet50_frozen, corrected": [child.key]}, {})
    board, reports = with_reports(read_board(out), [out], out)
    assert any("seed-notebook.md" in note for note in board.notes)
    return reports["seed-notebook.md"]


def lines_of(report: str, experiment: str) -> list[list[str]]:
    """Return the lines of the table that belong to an experiment, as cells."""
    cells = [[cell.strip() for cell in line.strip("|").split("|")] for line in report.splitlines() if "|" in line]
    start = next(number for number, line in enumerate(cells) if line[0] == experiment)
    rest = cells[start + 1 :]
    end = next((number for number, line in enumerate(rest) if line[0]), len(rest))
    return [cells[start], *rest[:end]]


def test_the_notebook_s_figures_stand_above_ours(report: str) -> None:
    suite = load_suite("seed-notebook")
    assert suite.reference is not None
    with (suite.folder / suite.reference).open(encoding="utf-8", newline="") as stream:
        known = {line["id"]: line for line in csv.DictReader(stream)}
    head = lines_of(report, "experiment")[0]
    for name in ("baseline", "brightness"):
        theirs, *ours = lines_of(report, name)
        shown = dict(zip(head, theirs, strict=True))
        assert shown["whose"] == "notebook"
        assert (shown["accuracy"], shown["F1 glioma"]) == (known[name]["accuracy"], known[name]["f1_glioma"])
        assert (shown["fn pituitary"], shown["missed meningioma"]) == (
            known[name]["fn_pituitary"], known[name]["missed_meningioma"],
        )  # fmt: skip
        expected = ["as written = corrected"] if name == "baseline" else ["as written", "corrected"]
        assert [line[1] for line in ours] == expected
    assert "brightness, as written: a bug, not a finding" in report
    assert lines_of(report, "resnet50_frozen")[1][1] == "corrected: missing_weights"
    assert "Meant for a GPU, or for a small --limit: resnet50_frozen." in report.replace("\\", "")


def test_which_conclusions_survive_is_computed_from_the_runs(report: str, results: Callable[[Runs], Path]) -> None:
    plain = report.replace("\\", "")
    assert "**Rotation costs accuracy.** Notebook: 0.9451 against 0.8207. As written and corrected: holds (" in plain
    assert (
        "**Flips cost accuracy.** Notebook: 0.9451 against 0.9390. As written and corrected: can't be told" in plain
    )
    brightness = next(line for line in plain.splitlines() if "**Varied brightness" in line)
    assert "As written: holds (" in brightness
    assert "Corrected: can't be told from chance (" in brightness
    assert "As written, 2 of 3 conclusions hold. Not told from chance: Flips cost accuracy. 13 more are open" in plain
    assert "Corrected, 1 of 3 conclusions hold." in plain
    members, runs = runs_of({**SKILLS, "rotation": 5.0})
    out = results(runs)
    save_experiments(out, load_suite("seed-notebook"), members, {})
    (other,) = with_reports(read_board(out), [out], out)[1].values()
    assert (
        "**Rotation costs accuracy.** Notebook: 0.9451 against 0.8207. As written and corrected: is reversed ("
        in (other.replace("\\", ""))
    )


def test_runs_with_changes_stand_apart_and_later_commands_add_theirs(results: Callable[[Runs], Path]) -> None:
    suite = load_suite("seed-notebook")
    members, runs = runs_of({"baseline": 3.0})
    changed, others = runs_of({"flip": 2.0}, batch_size=8)
    out = results([*runs, *others])
    save_experiments(out, suite, members, {})
    save_experiments(out, suite, changed, {"batch_size": 8})
    (text,) = with_reports(read_board(out), [out], out)[1].values()
    first, second = text.split("with batch_size=8")
    assert "| baseline |" in first
    assert "| flip |" not in first
    assert "| flip |" in second
