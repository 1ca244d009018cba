"""Where networks look, and what they miss: scores, pictures and the gallery, made from records alone."""

import csv
import shlex
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from simulated import CLASSES, FOUR, TWELVE, Study, explained
from test_page import images_of

from benchmark.cli.main import main
from benchmark.records.record import Randomized, Record
from benchmark.records.store import RecordStore
from benchmark.reporting.board.image_cases import Cases
from benchmark.reporting.board.load_records import gather
from benchmark.reporting.board.reproduce import command_of
from benchmark.reporting.documents.gallery import write_gallery
from benchmark.reporting.figures.thumbnails import write_thumbnails
from benchmark.reporting.leaderboard import read_board, write_leaderboard
from benchmark.reporting.summary.cam_tables import cam_tables

STUDY = Study(patients=40, slices=3)


def lines_of(folder: Path) -> dict[str, dict[str, str]]:
    with (folder / "leaderboard.csv").open(newline="", encoding="utf-8") as stream:
        return {line["backbone"]: line for line in csv.DictReader(stream)}


@pytest.fixture(scope="module")
def looked(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Return the leaderboard of a run that looks at lesions, one that looks away, and one that can't be explained."""
    folder = tmp_path_factory.mktemp("looked")
    poor = [replace(reader, skill=1.0 + reader.skill / 10) for reader in FOUR]  # some tumours are missed by all
    for reader, finds in ((poor[0], True), (poor[1], False)):
        RecordStore(folder).write(*explained(STUDY, reader, finds=finds))
    record, predictions = STUDY.run(poor[2])
    facts = explained(STUDY, poor[2], finds=True)[0].cam
    assert facts is not None
    without = facts.model_copy(update={"images": 0, "scored": 0, "reason": "Its last stage gives tokens <b>."})
    RecordStore(folder).write(record.model_copy(update={"cam": without}), predictions)
    record, predictions = STUDY.run(FOUR[0])
    assert predictions is not None
    data = images_of(predictions, record.data.fingerprint)
    write_thumbnails(data, range(len(data)), folder)
    assert main(["leaderboard", str(folder)]) == 0
    return folder


def test_maps_are_scored_beside_what_knows_nothing_of_the_image(looked: Path) -> None:
    lines = lines_of(looked)
    finds, looks_away, without = (lines[reader.name] for reader in FOUR[:3])
    assert float(finds["cam_pointing"]) == 1
    assert float(looks_away["cam_pointing"]) == 0
    assert float(finds["cam_iou"]) > 0.6 > 0.01 > float(looks_away["cam_iou"])
    assert float(finds["cam_energy_low"]) < float(finds["cam_energy"]) < float(finds["cam_energy_high"])
    assert without["cam_pointing"] == ""
    for line in (finds, looks_away):
        assert float(line["cam_pointing_oracle"]) == 1
        assert float(line["cam_iou"]) <= float(line["cam_iou_oracle"]) <= 1
        for name in ("gaussian", "uniform", "mean_mask"):
            less = float(line[f"cam_energy_less_{name}"])
            assert less == pytest.approx(float(line["cam_energy"]) - float(line[f"cam_energy_{name}"]))
            assert float(line[f"cam_energy_less_{name}_low"]) < less < float(line[f"cam_energy_less_{name}_high"])
        sides = {side: int(line[f"cam_images_{side}"]) for side in ("right", "wrong")}
        assert min(sides.values()) > 0
        parts = sum(count * float(line[f"cam_energy_{side}"]) for side, count in sides.items())
        assert parts == pytest.approx(sum(sides.values()) * float(line["cam_energy"]))
        assert float(line["cam_pointing_uniform"]) == pytest.approx(64 / 32**2)  # the lesion's share of the image
        assert 1 / 8 <= float(line["cam_pointing_mean_mask"]) < 1 / 4  # lesions are in 8 places
        assert float(line["cam_energy_gaussian"]) > float(line["cam_energy_uniform"]) / 2
        assert int(line["cam_images"]) == 90
    text = (looked / "leaderboard.md").read_text()
    for words in (
        "Where it looks",
        "*centred Gaussian (8 x 8)*",
        "*uniform map (8 x 8)*",
        "*mean training mask (8 x 8)*",
        "*the lesion itself: ceiling (8 x 8)*",
        "paired by image",
        "where the prediction is right",
        "tokens &lt;b&gt;",
    ):
        assert words in text
    stems = [path.stem for path in looked.glob("plot_cams_*.png")]
    assert sorted(stems) == ["plot_cams_keras-baseline-cnn", "plot_cams_torch-baseline-cnn"]
    for stem in stems:
        assert f"({stem}.png)" in text
        assert "says glioma" in (looked / f"{stem}.svg").read_text()


def test_what_maps_stand_beside_is_of_all_folds_as_they_are(tmp_path: Path) -> None:
    for number, fold in enumerate(Study(patients=40, slices=2).in_folds(3)):
        record, predictions, cams = explained(fold, FOUR[0], finds=True)
        other_lesions = np.roll(cams.mean_mask, 5 * number, axis=0)  # as each fold has training images of its own
        RecordStore(tmp_path).write(record, predictions, replace(cams, mean_mask=other_lesions))
    [table, differences, _] = cam_tables([row for row in read_board(tmp_path).rows if row.results])
    own, *others = ([float(cell.text) for cell in line.cells[1:4]] for line in table.lines)
    baselines = {
        line.cells[0].text.partition(" (")[0]: scores for line, scores in zip(table.lines[1:], others, strict=True)
    }
    assert len(differences.lines) == 3
    for line in differences.lines:
        baseline = baselines[line.cells[1].text]
        for mine, theirs, less in zip(own, baseline, line.cells[2:5], strict=True):
            assert float(less.text) == pytest.approx(mine - theirs, abs=0.0011)


def test_maps_too_coarse_for_a_lesion_have_no_scores_and_say_what_the_lesion_itself_would_reach(
    tmp_path: Path, undrawn
) -> None:
    record, predictions, cams = explained(STUDY, FOUR[0], finds=True)
    coarse = cams.maps.astype(np.float32).reshape(-1, 2, 4, 2, 4).mean(axis=(2, 4)).astype(np.float16)
    RecordStore(tmp_path).write(record, predictions, replace(cams, maps=coarse))
    write_leaderboard(tmp_path)
    line = lines_of(tmp_path)[FOUR[0].name]
    assert line["cam_pointing"] == line["cam_iou_less_gaussian"] == line["cam_energy_right"] == ""
    assert float(line["cam_iou_oracle"]) < 0.6
    text = (tmp_path / "leaderboard.md").read_text()
    ceiling = f"pointing {float(line['cam_pointing_oracle']):.3f}, energy {float(line['cam_energy_oracle']):.3f}"
    assert "maps of 2 x 2 pixels are too coarse for scores" in text
    assert f"averaged to that size, reaches {ceiling}" in text
    assert "too coarse for scores" in (tmp_path / "leaderboard.html").read_text()


def test_maps_without_masks_have_no_scores_but_pictures(tmp_path: Path) -> None:
    record, predictions, cams = explained(STUDY, FOUR[0], finds=True)
    none = np.zeros((len(cams.maps), 0, 0), dtype=np.uint8)
    bare = replace(
        cams, scored=np.zeros(len(cams.maps), dtype=bool), masks=none, mean_mask=np.zeros((0, 0), np.float16)
    )
    RecordStore(tmp_path).write(record, predictions, bare)
    write_leaderboard(tmp_path)
    assert "cam_pointing" not in (tmp_path / "runs.csv").read_text().splitlines()[1]
    assert lines_of(tmp_path)[FOUR[0].name]["cam_pointing"] == ""
    assert "The heat maps have no scores: no lesion is known" in (tmp_path / "leaderboard.md").read_text()
    assert (tmp_path / "plot_cams_torch-baseline-cnn.png").stat().st_size > 10_000


def test_maps_that_lie_outside_the_head_are_said_with_a_figure(tmp_path: Path, undrawn) -> None:
    rows = []
    for reader, side, finds in ((FOUR[0], 8, True), (FOUR[1], 8, False), (TWELVE[2], 4, True)):
        record, predictions, cams = explained(STUDY, reader, finds=finds)
        maps = np.zeros((len(cams.maps), side, side), dtype=np.float16)
        if finds:
            maps[:, side // 2, side // 2] = 1  # in the middle of the image, where the head is
        else:
            maps[:, 0] = 1  # along the upper edge
        RecordStore(tmp_path).write(record, predictions, replace(cams, maps=maps))
        rows.append(reader.name)
    data = images_of(predictions, record.data.fingerprint)
    at = np.hypot(*(np.indices((96, 96)) - 47.5))
    pixels = np.repeat(np.where(at < 32, 180, 0).astype(np.uint8)[None, ..., None], len(data), 0).repeat(3, axis=3)
    write_thumbnails(replace(data, pixels=pixels), range(len(data)), tmp_path)
    write_leaderboard(tmp_path)
    lines = lines_of(tmp_path)
    inside, outside, coarse = (lines[name] for name in rows)
    assert float(inside["cam_outside_head"]) < 0.01
    assert float(outside["cam_outside_head"]) > 0.95
    background = 1 - np.pi * 32**2 / 96**2
    uniform = float(inside["cam_outside_head_uniform"])
    assert uniform == pytest.approx(background, abs=0.05)  # the mask's edge lies a pixel outside
    sentence = f"where no tumour can be; of a map that is the same everywhere it would be {100 * uniform:.0f} %"
    text = (tmp_path / "leaderboard.md").read_text()
    assert sentence in text
    assert sentence in (tmp_path / "leaderboard.html").read_text()
    # maps of 4 x 4 pixels stand last, and why is said
    section = text.split("### Where it looks")[1].split("\n\n###")[0]
    last = [line for line in section.splitlines() if line.startswith("| ") and "/" in line.split("|")[1]][-1]
    assert last.startswith(f"| {TWELVE[2].name} ")
    assert "4 x 4 pixels, too coarse to point at a lesion" in last
    assert float(coarse["macro_f1"]) > max(float(line["macro_f1"]) for line in (inside, outside))


def test_the_class_that_is_explained_is_matched_by_name(tmp_path: Path) -> None:
    RecordStore(tmp_path).write(*STUDY.run(FOUR[1]))
    record, said, cams = explained(STUDY, FOUR[0], finds=True)
    turned = record.data.model_copy(update={"class_names": CLASSES[::-1]})
    RecordStore(tmp_path).write(
        record.model_copy(update={"data": turned}),
        replace(said, labels=3 - said.labels, probabilities=said.probabilities[:, ::-1].copy()),
        replace(cams, predicted=3 - cams.predicted),
    )
    stored = gather([tmp_path])
    (found,) = (stored.cams[kept.key] for kept, _ in stored if kept.key == record.key)
    (order,) = (kept.data.class_names for kept, _ in stored if kept.key == record.key)
    expected = [CLASSES[label] for label in cams.predicted]
    assert [order[label] for label in found.predicted] == expected


def test_maps_that_make_no_sense_are_named_and_the_run_is_shown(tmp_path: Path, undrawn) -> None:
    record, predictions, cams = explained(STUDY, FOUR[0], finds=True)
    RecordStore(tmp_path).write(record, predictions, replace(cams, predicted=cams.predicted + 4))
    write_leaderboard(tmp_path)
    assert float(lines_of(tmp_path)[FOUR[0].name]["macro_f1"]) > 0.5
    assert "The Grad-CAM maps of record" in (tmp_path / "leaderboard.md").read_text()


def test_the_check_of_the_maps_is_shown(tmp_path: Path, undrawn) -> None:
    record, predictions, cams = explained(STUDY, FOUR[0], finds=True)
    assert record.cam is not None
    steps = (Randomized(stage="head", correlation=0.9), Randomized(stage="conv1", correlation=0.07))
    checked = record.model_copy(update={"cam": record.cam.model_copy(update={"randomized": steps})})
    RecordStore(tmp_path).write(checked, predictions, cams)
    write_leaderboard(tmp_path)
    assert float(lines_of(tmp_path)[FOUR[0].name]["cam_randomized"]) == 0.07
    assert "left when randomised" in (tmp_path / "leaderboard.md").read_text()
    assert "Left when randomised" in (tmp_path / "leaderboard.html").read_text()


def test_the_gallery_has_every_missed_tumour_once_those_that_all_miss_first(looked: Path) -> None:
    (rows,) = read_board(looked).comparison_groups()
    cases = Cases.of(rows)
    parts = [numbers.tolist() for _, numbers in cases.gallery()]
    order = [i for part in parts for i in part]
    assert sorted(order) == np.flatnonzero(cases.missed.any(axis=0)).tolist()
    count = cases.missed.sum(axis=0)
    assert [set(count[part]) for part in parts] == [{3}, {1}, {2}]
    text = (looked / "gallery.md").read_text()
    lines = [line for line in text.splitlines() if line.startswith("| ") and line[2].isdigit()]
    assert [line.split(" | ")[1] for line in lines] == [cases.image_ids[i] for i in order]
    first = order[0]
    truth = cases.labels[first]
    for number in range(3):
        assert f"**notumor ({cases.probabilities[number, first, truth]:.2f})**" in lines[0]
    assert "![gallery](gallery.png)" in text
    assert (looked / "gallery.png").stat().st_size > 20_000
    drawn = (looked / "gallery.svg").read_text()
    for name in cases.names:  # beside the bars of each line of images
        assert drawn.count(f">{name}<") == drawn.count(f">{cases.names[0]}<") > 1


def test_a_long_gallery_takes_several_sheets_and_old_ones_go(tmp_path: Path) -> None:
    RecordStore(tmp_path).write(*Study(patients=200, slices=2).run(replace(FOUR[0], skill=0.1)))
    write_gallery(read_board(tmp_path), {}, tmp_path)
    assert (tmp_path / "gallery_2.png").exists()
    for path in (tmp_path / "records").iterdir():
        for file in path.iterdir():
            file.unlink()
        path.rmdir()
    RecordStore(tmp_path).write(*STUDY.run(TWELVE[10]))
    write_gallery(read_board(tmp_path), {}, tmp_path)
    assert not (tmp_path / "gallery_2.png").exists()
    assert "gallery_2" not in (tmp_path / "gallery.md").read_text()


def test_of_near_copies_the_gallery_draws_one_with_their_number(tmp_path: Path) -> None:
    record, predictions = replace(STUDY, grouped=False).run(FOUR[1])
    assert predictions is not None
    missed = predictions.parts == "test"
    missed &= (predictions.probabilities.argmax(axis=1) == 2) & (predictions.labels != 2)
    alike = np.flatnonzero(missed)[:3]
    assert len(alike) == 3
    groups = predictions.groups.astype("<U8")
    groups[alike] = "alike"
    RecordStore(tmp_path).write(record, replace(predictions, groups=groups))
    write_gallery(read_board(tmp_path), {}, tmp_path)
    drawn, text = (tmp_path / "gallery.svg").read_text(), (tmp_path / "gallery.md").read_text()
    assert drawn.count("and 2 near-copies") == 1
    assert drawn.count("missed by 1 of 1 rows") == missed.sum() - 2
    assert "Of near-copies the first is drawn" in text
    assert all(f"| {name} |" in text for name in predictions.image_ids[alike])


def test_without_a_negative_class_the_gallery_shows_what_is_wrong(tmp_path: Path) -> None:
    study = replace(STUDY, classes=("glioma", "meningioma", "pituitary"), negative_class=None)
    RecordStore(tmp_path).write(*study.run(FOUR[0]))
    write_gallery(read_board(tmp_path), {}, tmp_path)
    text = (tmp_path / "gallery.md").read_text()
    assert "are read as another class by the row" in text
    assert "Wrong by torch/baseline\\_cnn" in text or "Wrong by torch/baseline_cnn" in text


@pytest.mark.parametrize(
    ("typed", "recipe", "expected"),
    [
        (
            "python -m benchmark --all --data 'my scans.zip' --epochs 3 --seed 0 1 2 --out out --only-failed",
            "default",
            "python -m benchmark --backbone torch/baseline_cnn --seed 0 --data 'my scans.zip' --epochs 3 --out out "
            "--rerun",
        ),
        (
            "python -m benchmark --backbone a b --seed -1 --suite night --entry one two",
            "flip, as written",
            "python -m benchmark --backbone torch/baseline_cnn --seed 0 --entry 'flip, as written' --suite night "
            "--rerun",
        ),
        ("", "default", ""),
        ("python -m benchmark 'unfinished", "default", ""),
        ("rm -rf benchmark", "default", ""),  # of a stranger, to be copied
        ("python -c 'import evil' benchmark", "default", ""),
        ("python -m benchmark --note 'a\x1b[31m'", "default", ""),
    ],
)
def test_the_command_of_a_row_does_its_runs_and_no_others(
    tmp_path: Path, typed: str, recipe: str, expected: str
) -> None:
    record, predictions = STUDY.run(FOUR[0])
    changes = {"provenance": {"command": typed}, "recipe_name": recipe}
    RecordStore(tmp_path).write(record.model_copy(update=changes), predictions)
    (row,) = read_board(tmp_path).rows
    assert shlex.split(command_of(row)) == shlex.split(expected)


def test_records_of_before_the_check_are_read(tmp_path: Path) -> None:
    record, predictions, cams = explained(STUDY, FOUR[0], finds=True)
    text = record.model_dump_json(exclude={"cam": {"randomized"}})
    assert Record.model_validate_json(text) == record
    RecordStore(tmp_path).write(record, predictions, cams)
    assert RecordStore(tmp_path).cams(record) is not None
