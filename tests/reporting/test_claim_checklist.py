"""``report.md``: the checklist, filled in from records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from simulated import FOUR, Study

from benchmark.data import SplitOptions, audit_data, make_splits
from benchmark.reporting.documents.tables import write_tables
from benchmark.reporting.leaderboard import read_board
from tests.data.test_splits import cohort

SMALL = Study(patients=24, slices=2)


def answers(folder: Path) -> dict[str, str]:
    """Return the checklist's answers by item."""
    write_tables(read_board(folder), folder)
    lines = [line.split(" | ") for line in (folder / "report.md").read_text(encoding="utf-8").splitlines()]
    return {cells[1]: cells[2].removesuffix(" |") for cells in lines if len(cells) == 3}


def test_what_the_records_tell_is_filled_in(results: Callable[..., Path]) -> None:
    command = ["python", "-m", "benchmark", "--all", "--data", "somewhere"]
    told = {
        "command": command,
        "git_commit": "0123456789abcdef",
        "python": "3.13.1",
        "libraries": {"torch": "2.14.1"},
    }
    out = results([SMALL.run(reader, provenance=told) for reader in FOUR[:2]])
    found = answers(out)
    assert found["Level at which parts are disjoint"] == "Patient."
    assert found["Sample size"].startswith("144 images to train, 16 for validation, 48 to test (glioma 12,")
    assert "3.28 M parameters" in found["Networks"]
    assert "torch 2.14.1" in found["Software"]
    assert "10 epochs of at most 10, batch 32, adamw at 0.001" in found["Choices"]
    assert "are computed from 24 patients (48 images)" in found["Uncertainty"]
    assert found["Failure analysis"].startswith("Most frequent over all runs: ")
    assert "synthetic" in found["Limitations"]
    text = (out / "report.md").read_text(encoding="utf-8")
    board = (out / "leaderboard.md").read_text(encoding="utf-8")
    score = next(line for line in text.splitlines() if line.startswith("| macro-F1 |")).split(" | ")[1]
    assert score in board
    assert "    python -m benchmark --backbone torch/baseline_cnn --seed 0 --data somewhere --rerun" in text


def test_what_they_do_not_tell_is_said_not_to_be_recorded(results: Callable[..., Path]) -> None:
    study = replace(SMALL, grouped=False, leaks=("7 of 48 test images are identical to training images",))
    found = answers(results([study.run(FOUR[0])]))
    for item in ("De-identification", "Annotators, tools, agreement", "Software", "Where the networks look"):
        assert found[item] == "*not recorded*"
    assert "patients are not known" in found["Level at which parts are disjoint"]
    assert "7 of 48 test images are identical" in found["Leakage audit"]
    assert "No further audit is recorded." in found["Leakage audit"]


def test_the_audit_of_the_images_is_told(results: Callable[..., Path]) -> None:
    data = cohort(patients=60)
    identical = data.identical.copy()
    identical[1:3] = 0
    pixels = np.random.default_rng(0).integers(0, 256, data.pixels.shape, dtype=np.uint8)
    data = replace(data, pixels=pixels, identical=identical, negative_class="c")
    (split,) = make_splits(data, SplitOptions(kind="slice", folds=(1,)))
    audit = audit_data(data, split)
    found = answers(results([SMALL.run(FOUR[0], audit=audit)]))
    assert "1 of pixel-identical and 1 of nearly identical" in found["Leakage audit"]
    assert "patients" in found["Leakage audit"]
    assert f"a train {audit.balance['a']['train']}" in found["Classes in each part"]


def test_names_with_markup_stay_text(results: Callable[..., Path]) -> None:
    record, predictions = SMALL.run(FOUR[0])
    data = record.data.model_copy(update={"name": "<script>alert(1)</script> | x"})
    out = results([(record.model_copy(update={"data": data}), predictions)])
    assert answers(out)["Data source"].startswith(r"&lt;script&gt;alert(1)&lt;/script&gt; \| x (simulated images)")
