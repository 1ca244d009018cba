"""``report.md``: the checklist, filled in from records."""

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
from all_tables import write_tables
from simulated import FOUR, Study

from benchmark.data.audit.audit import audit_data
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.records.record import CamFacts
from benchmark.reporting.breakdown.breakdowns import Breakdowns
from benchmark.reporting.breakdown.strata import Facet, Strata
from benchmark.reporting.documents.claim_checklist import report
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
    assert found["Level at which partitions are disjoint"] == "Patient."
    flow = found["Numbers included and excluded"]
    assert flow.startswith("208 images; none left out; 144 to train, 16 for validation, 48 to test.")
    assert "24 patients in test; test images by class: glioma 12," in flow
    assert "3.28 M parameters" in found["Description of the model"]
    assert "torch 2.14.1" in found["Software"]
    approach = found["Details of the training approach"]
    for choice in (
        "10 epochs of at most 10",
        "batch size 32",
        "optimizer: name adamw, learning rate 0.001",
        "clip norm none",
        "loss: label smoothing 0.0, focal gamma 0.0, class weights none",
        "head: kind native",
        "ema: decay 0.0",
        "regularization: l1 0.0",
        "batch norm: momentum 0.1",
    ):
        assert choice in approach
    chosen = "weights of the epoch with the lowest loss on validation images (9 of 10)"
    assert found["Selection of the final model"] == chosen
    assert found["Robustness or sensitivity analysis"].startswith("No corruption of the images")
    assert "One seed: nothing is known" in found["Robustness or sensitivity analysis"]
    assert found["Testing on external data"].startswith("None: ")
    assert "are computed from 24 patients (48 images)" in found["Statistical significance and uncertainty"]
    assert found["Failure analysis"].startswith("Most frequent over all runs: ")
    assert "synthetic" in found["Limitations"]
    assert found["Class imbalance"].startswith("Class weights: none.")
    assert found["Fairness, subgroups"].startswith("By class only")
    text = (out / "report.md").read_text(encoding="utf-8")
    board = (out / "leaderboard.md").read_text(encoding="utf-8")
    score = next(line for line in text.splitlines() if line.startswith("| macro-F1 |")).split(" | ")[1]
    assert score in board
    assert "    python -m benchmark --backbone torch/baseline_cnn --seed 0 --data somewhere --rerun" in text


def test_what_they_do_not_tell_is_said_not_to_be_recorded(results: Callable[..., Path]) -> None:
    study = replace(SMALL, grouped=False, leaks=("7 of 48 test images are identical to training images",))
    found = answers(results([study.run(FOUR[0])]))
    for item in ("De-identification", "Source of annotations", "Software", "Explainability", "Missing data"):
        assert found[item] == "*not recorded*"
    assert "patients are not known" in found["Level at which partitions are disjoint"]
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
    assert "1 of pixel-identical and 1 of near-duplicate" in found["Leakage audit"]
    assert "patients" in found["Leakage audit"]
    assert f"a train {audit.balance['a']['train']}" in found["Classes in each partition"]


def test_names_with_markup_stay_text(results: Callable[..., Path]) -> None:
    record, predictions = SMALL.run(FOUR[0])
    data = record.data.model_copy(update={"name": "<script>alert(1)</script> | x"})
    out = results([(record.model_copy(update={"data": data}), predictions)])
    assert answers(out)["Data sources"].startswith(r"&lt;script&gt;alert(1)&lt;/script&gt; \| x (simulated images)")


def test_all_items_of_claim_2024_stand_there_once_by_number(results: Callable[..., Path]) -> None:
    out = results([SMALL.run(FOUR[0])])
    answers(out)
    lines = (out / "report.md").read_text(encoding="utf-8").split("### Of TRIPOD+AI")[0].splitlines()
    numbers = [line.split(" | ")[0].strip("| ") for line in lines if line.startswith("| ") and line[2].isdigit()]
    assert list(dict.fromkeys(map(int, numbers))) == list(range(1, 45))


def test_the_flow_of_cases_says_who_is_left_out_and_why(results: Callable[..., Path]) -> None:
    data = cohort(patients=60)
    audit = audit_data(data, make_splits(data, SplitOptions(kind="slice", folds=(1,)))[0])
    audit = audit.model_copy(update={"unreadable": 3, "notes": ("tested on all images of clinic B",)})
    record, predictions = replace(SMALL, removed=40).run(FOUR[0], audit=audit)
    found = answers(results([(record, predictions)]))
    flow = found["Numbers included and excluded"]
    assert flow.startswith(
        "251 images; 43 left out (3 could not be read; 40 training images show a slice of the test"
    )
    assert found["Missing data"].startswith("3 images that could not be read")
    assert found["Testing on external data"] == "Tested on all images of clinic B."
    assert found["Evaluation on internal data"] == "*not recorded*"


def test_what_is_told_of_training_is_of_every_run_of_a_row(results: Callable[..., Path]) -> None:
    runs = []
    for number, study in enumerate(SMALL.in_folds(2)):
        record, predictions = study.run(FOUR[0])
        assert record.cam is None
        cam = CamFacts(stage="conv3", method="grad-cam", images=90 + number)
        timings = record.timings.model_copy(update={"total_s": 60.0 * (1 + number)})
        changes = {"best_epoch": 4 + number, "cam": cam, "timings": timings}
        runs.append((record.model_copy(update=changes), predictions))
    found = answers(results(runs))
    assert found["Selection of the final model"].endswith("validation images (4 to 5 of 10)")
    assert found["Explainability"] == "Grad-CAM at stage conv3, 181 maps of test images by 2 runs"
    assert found["Device and time"].endswith(", 1.5 minutes a run (mean of 2)")
    assert "decoupled decay yes" in found["Details of the training approach"], "what AdamW does unasked"


def test_limitations_are_the_doubts_and_not_the_methods(results: Callable[..., Path]) -> None:
    found = answers(results([SMALL.run(reader) for reader in FOUR[:2]]))
    limits = found["Limitations"]
    assert "One seed: the ranks are of these trained models, not of these backbones." in limits
    assert "The images were not audited." in limits
    assert "paired bootstrap" not in limits
    assert "No patient is on both sides" not in limits
    three = [SMALL.run(FOUR[0], seed) for seed in (0, 1, 2)]
    found = answers(results([*three, SMALL.run(FOUR[1])]))
    assert "Training was repeated with up to 3 seeds, in 1 of 2 rows." in found["Robustness or sensitivity analysis"]
    assert "Wrong in every row, by some seed" in found["Failure analysis"]


def test_a_test_set_of_another_source_has_its_own_labels(results: Callable[..., Path]) -> None:
    data = cohort(patients=60)
    audit = audit_data(data, make_splits(data, SplitOptions(kind="slice", folds=(1,)))[0])
    assert answers(results([SMALL.run(FOUR[0], audit=audit)]))["Annotation of the test set"].startswith("As that of")
    audit = audit.model_copy(update={"notes": ("tested on all images of clinic B",)})
    found = answers(results([SMALL.run(FOUR[0], audit=audit)]))
    assert found["Annotation of the test set"].startswith("The labels of the source that tests")


def test_strata_that_are_known_are_subgroups(results: Callable[..., Path]) -> None:
    out = results([SMALL.run(FOUR[0])])
    board = read_board(out)
    (group,) = {row.block.comparison_group for row in board.rows}
    strata = Strata(board.rows, (FOUR[0].name,), (Facet("lesion area", (), (), 0), Facet("scanner", (), (), 0)), ())
    text = report(board, Breakdowns(strata={group: strata}))
    assert "By class, and by lesion area, scanner (strata.csv) (" in text
    assert "Compared by scanner in strata.csv." in text
