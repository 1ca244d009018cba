"""The board by lesion area, plane, scanner, source, slice thickness and patient, from facts beside the records."""

import csv
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import FOUR, Study

from benchmark.data.dataset import DataSet
from benchmark.records.record import Predictions, Record
from benchmark.reporting.breakdown.image_facts import HEAD, facts_path, read_image_facts, write_image_facts
from benchmark.reporting.breakdown.strata import strata_of
from benchmark.reporting.leaderboard import read_board, write_leaderboard

Runs = list[tuple[Record, Predictions | None]]
Store = Callable[[Runs], Path]
STUDY = Study(name="clinic", synthetic=False, patients=48, slices=5)


def write_facts(out: Path, study: Study, facts: Callable[[int, str], dict[str, object]]) -> None:
    """Write the facts of a study's test images: ``facts`` gets an image's number and class."""
    test = study.run(FOUR[0])[1]
    assert test is not None
    part = test.part("test")
    path = facts_path(out, study.data.fingerprint)
    path.parent.mkdir(exist_ok=True)
    with path.open("w", newline="") as stream:
        writer = csv.DictWriter(stream, HEAD, restval="")
        writer.writeheader()
        for k, (name, label) in enumerate(zip(part.image_ids, part.labels, strict=True)):
            writer.writerow({"image_id": name, **facts(k, study.classes[label])})


def known(number: int, name: str) -> dict[str, object]:
    area = {} if name == "notumor" else {"lesion_area": 0.001 * (1 + number % 30)}
    return {"plane": ("axial", "coronal", "sagittal")[number % 3], "scanner": f"MR {number // 120}", **area}


@pytest.fixture
def board_of(results: Store) -> Callable[..., Path]:
    def make(study: Study = STUDY, facts: Callable[[int, str], dict[str, object]] = known) -> Path:
        out = results([study.run(reader) for reader in FOUR[:2]])
        write_facts(out, study, facts)
        return out

    return make


def lines(out: Path) -> list[dict[str, str]]:
    with (out / "strata.csv").open(encoding="utf-8") as stream:
        return list(csv.DictReader(stream))


def test_every_facet_stands_in_the_table_with_its_counts(board_of: Callable[..., Path], undrawn: None) -> None:
    out = board_of()
    write_leaderboard(out)
    found = lines(out)
    assert {line["facet"] for line in found} == {"lesion area", "plane", "scanner"}
    best = [line for line in found if line["backbone"] == "torch/baseline_cnn"]
    by_facet = {facet: [line for line in best if line["facet"] == facet] for facet in ("lesion area", "plane")}
    assert sum(int(line["n_images"]) for line in by_facet["plane"]) == 240
    assert sum(int(line["n_images"]) for line in by_facet["lesion area"]) == 180, (
        "images without a lesion have no area"
    )
    assert len(by_facet["lesion area"]) == 3
    for line in found:
        assert float(line["recall_low"]) <= float(line["recall"]) <= float(line["recall_high"])
        assert float(line["difference"]) == pytest.approx(float(line["recall"]) - float(line["expected"]))
        assert 0 <= float(line["missed"]) <= 1
    recalls = [float(line["recall"]) for line in by_facet["plane"]]
    assert recalls == sorted(recalls), "the worst stratum of the best row stands first"


def test_recall_is_that_of_the_predictions(board_of: Callable[..., Path], undrawn: None) -> None:
    out = board_of()
    write_leaderboard(out)
    _, predictions = STUDY.run(FOUR[0])
    assert predictions is not None
    test = predictions.part("test")
    right = test.probabilities.argmax(axis=1) == test.labels
    for k, plane in enumerate(("axial", "coronal", "sagittal")):
        [line] = [one for one in lines(out) if (one["backbone"], one["stratum"]) == ("torch/baseline_cnn", plane)]
        assert float(line["recall"]) == pytest.approx(right[np.arange(240) % 3 == k].mean())


def test_thirds_are_told_with_their_bounds(board_of: Callable[..., Path]) -> None:
    out = board_of()
    board = read_board(out)
    strata = strata_of(board.rows, read_image_facts([out], STUDY.data.fingerprint))
    assert strata is not None
    area = strata.facets[0]
    assert sorted(name.split(" (")[0] for name in area.names) == ["largest third", "middle third", "smallest third"]
    assert any("0.1 to 1 % of the image" in name for name in area.names)
    assert area.unknown == 60
    assert all(0 <= stratified.p <= 1 for stratified in area.rows if stratified.p is not None)


def test_page_markdown_and_figure_show_them(board_of: Callable[..., Path]) -> None:
    out = board_of()
    write_leaderboard(out)
    for file in ("leaderboard.md", "leaderboard.html"):
        text = (out / file).read_text(encoding="utf-8")
        assert "What is read worse: recall by stratum" in text
        assert "smallest third" in text
        assert "all slices right" in text
    assert (out / "plot_strata.png").exists()
    (out / "image_facts").rename(out / "elsewhere")
    write_leaderboard(out)
    assert not (out / "plot_strata.png").exists(), "a figure of an earlier board stays"
    assert not (out / "strata.csv").exists()


def test_patients_are_counted_by_how_their_slices_were_read(board_of: Callable[..., Path]) -> None:
    out = board_of()
    strata = strata_of(read_board(out).rows, {})
    assert strata is not None
    assert strata.facets == ()
    for read, row in zip(strata.patients, strata.rows, strict=True):
        assert read.right + read.mixed + read.wrong == 48
        test = row.first.predictions.part("test")  # type: ignore[union-attr]
        wrong = test.probabilities.argmax(axis=1) != test.labels
        per_patient = {name: int(wrong[test.groups == name].sum()) for name in set(test.groups.tolist())}
        assert read.worst[0].wrong == max(per_patient.values())
        assert read.right == sum(count == 0 for count in per_patient.values())
        assert read.wrong == sum(count == 5 for count in per_patient.values())


def test_unknown_patients_and_facts_leave_the_section_out(results: Store, undrawn: None) -> None:
    out = results([replace(STUDY, grouped=False).run(FOUR[0])])
    write_leaderboard(out)
    assert "recall by stratum" not in (out / "leaderboard.md").read_text()


def test_slice_thickness_by_value_and_in_thirds(board_of: Callable[..., Path]) -> None:
    out = board_of(facts=lambda k, _: {"slice_thickness_mm": (3, 5)[k % 2]})
    strata = strata_of(read_board(out).rows, read_image_facts([out], STUDY.data.fingerprint))
    assert strata is not None
    assert sorted(strata.facets[0].names) == ["3 mm", "5 mm"]
    write_facts(out, STUDY, lambda k, _: {"slice_thickness_mm": 1 + k % 9})
    strata = strata_of(read_board(out).rows, read_image_facts([out], STUDY.data.fingerprint))
    assert strata is not None
    assert "smallest third (1 to 3 mm)" in strata.facets[0].names


def test_facts_that_are_none_are_absent(tmp_path: Path) -> None:
    path = facts_path(tmp_path, "f" * 64)
    path.parent.mkdir()
    table = [
        "image_id,plane,scanner,source,lesion_area,slice_thickness_mm",
        f"a.png,axial,{'x' * 200},,nan,-1",
        "b.png,,,,0.5,inf",
        ",axial,,,,",
        "c.png",
    ]
    path.write_text("\n".join(table))
    assert read_image_facts([tmp_path], "f" * 64) == {"a.png": {"plane": "axial"}, "b.png": {"lesion_area": "0.5"}}
    path.write_bytes(b"\xff\xfe")
    assert read_image_facts([tmp_path], "f" * 64) == {}


def test_facts_come_from_the_data_set_and_stay(tmp_path: Path) -> None:
    masks = np.zeros((4, 8, 8), dtype=np.uint8)
    masks[1, :4, :4] = 1
    data = DataSet(
        name="made",
        pixels=np.zeros((4, 8, 8, 3), np.uint8),
        labels=np.array([0, 1, 0, 1]),
        image_ids=np.array(["a", "b", "c", "d"]),
        class_names=("notumor", "glioma"),
        fingerprint="e" * 64,
        identical=np.arange(4),
        masks=masks,
        planes=np.array(["axial", "", "", ""]),
        scanners=np.array(["", "SIEMENS 3 T", "", ""]),
        thicknesses=np.array([5.0, np.nan, np.nan, np.nan]),
    )
    write_image_facts(data, [0, 1], tmp_path)
    write_image_facts(data, [2, 3], tmp_path)  # of which nothing is known
    assert read_image_facts([tmp_path], "e" * 64) == {
        "a": {"plane": "axial", "slice_thickness_mm": "5"},
        "b": {"scanner": "SIEMENS 3 T", "lesion_area": "0.250000"},
    }
