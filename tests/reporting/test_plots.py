"""Which plots are written, and that nothing in them lies on something else."""

import re
import shutil
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from simulated import CLASSES, FOUR, TWELVE, Study

from benchmark.data.dataset import DataSet
from benchmark.records.outcomes import Outcome
from benchmark.reporting.figures import decisions, errors, fonts
from benchmark.reporting.figures.kept_figures import what_rows_show
from benchmark.reporting.figures.labels import place
from benchmark.reporting.figures.montage import choose, draw_montage, write_montage
from benchmark.reporting.figures.plots import wanted, write_plots
from benchmark.reporting.figures.speed import pareto_front
from benchmark.reporting.figures.style import figure
from benchmark.reporting.leaderboard import read_board, write_leaderboard

SMALL = Study(patients=24, slices=2)


def test_speed_plot_is_written_as_png_and_svg(results) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    write_plots(read_board(out), out)
    with Image.open(out / "plot_macro_f1_vs_throughput.png") as image:
        assert image.width == pytest.approx(88 / 25.4 * 300, abs=2)
    svg = (out / "plot_macro_f1_vs_throughput.svg").read_text()
    assert ">tf_efficientnet_lite0<" in svg  # text stays text: it can be searched and edited
    assert ">torch/baseline_cnn<" in svg  # of two that look alike the names are whole
    assert ">keras/baseline_cnn<" in svg
    assert "synthetic" in svg


def test_names_are_plain_text_in_a_plot(results) -> None:
    record, predictions = SMALL.run(FOUR[0])
    data = record.data.model_copy(update={"name": "<script>$x^2$"})
    out = results([(record.model_copy(update={"data": data}), predictions)])
    write_plots(read_board(out), out)
    assert "&lt;script&gt;$x^2$" in (out / "plot_macro_f1_vs_throughput.svg").read_text()


def test_plots_of_an_earlier_board_do_not_stay(results) -> None:
    out = results([SMALL.run(FOUR[0])])
    write_plots(read_board(out), out)
    shutil.rmtree(out / "records")  # a failure never replaces a result
    results([SMALL.run(FOUR[0], outcome=Outcome.OOM, reason="no memory")])
    (out / "plot_of_my_own.png").write_bytes(b"mine")
    write_plots(read_board(out), out)
    assert not (out / "plot_macro_f1_vs_throughput.png").exists()
    assert (out / "plot_of_my_own.png").exists()


def test_speeds_of_two_devices_are_two_plots(results) -> None:
    out = results([SMALL.run(FOUR[0]), replace(SMALL, device="NVIDIA T4").run(TWELVE[2])])
    write_plots(read_board(out), out)
    assert len(list(out.glob("plot_macro_f1_vs_throughput*.svg"))) == 2


def test_ranks_are_in_no_plot_so_that_one_more_row_has_none_of_them_drawn_anew(results, tmp_path: Path) -> None:
    board = read_board(results(SMALL.run(reader) for reader in FOUR))
    others = replace(board, rows=tuple(replace(row, ranks=None) for row in board.rows))
    assert any(row.ranks is not None for row in board.rows)
    written = {}
    for name, each in (("ranked", board), ("unranked", others)):
        (tmp_path / name).mkdir()
        written[name] = [path.read_bytes() for path in write_plots(each, tmp_path / name)]
    assert written["ranked"] == written["unranked"]
    keys = [what_rows_show(each.rows) for each in (board, others)]
    assert keys[0] is not None
    assert keys[0] == keys[1]


@pytest.mark.parametrize("seed", range(4))
def test_labels_keep_clear_of_each_other_and_of_markers(seed: int) -> None:
    generator = np.random.default_rng(seed)
    centres = generator.uniform((60, 40), (280, 180), (12, 2))
    sizes = np.column_stack([generator.uniform(20, 60, 12), np.full(12, 7.0)])
    radii = np.full(12, 3.0)
    middles = centres + place(centres, sizes, radii, np.array([0, 0, 340, 220]))
    boxes = np.hstack([middles - sizes / 2, middles + sizes / 2])
    markers = np.hstack([centres - 3, centres + 3])
    assert (boxes[:, :2] >= 0).all()
    assert (boxes[:, 2:] <= (340, 220)).all()
    for i in range(12):
        for j in range(12):
            assert i == j or not overlap(boxes[i], boxes[j])
            assert not overlap(boxes[i], markers[j])


def overlap(a: np.ndarray, b: np.ndarray) -> bool:
    return bool((np.maximum(a[:2], b[:2]) < np.minimum(a[2:], b[2:])).all())


def test_every_plot_is_written_and_shown_in_the_leaderboard(results) -> None:
    out = results(SMALL.run(reader, seed) for reader in FOUR for seed in (0, 1))
    write_leaderboard(out)
    text = (out / "leaderboard.md").read_text()
    stems = sorted(path.stem for path in out.glob("plot_*.png"))
    assert stems == sorted(path.stem for path in out.glob("plot_*.svg"))
    assert stems == [
        "plot_confusion_matrices",
        "plot_false_negatives",
        "plot_learning_curves_loss",
        "plot_learning_curves_macro_f1",
        "plot_macro_f1_vs_throughput",
        "plot_net_benefit",
        "plot_risk_coverage",
    ]
    assert all(f"({stem}.png)" in text for stem in stems)
    assert "synthetic images" in (out / "plot_false_negatives.svg").read_text()


def test_risk_and_coverage_are_those_of_the_columns(results) -> None:
    out = results(study.run(reader) for reader in FOUR[:2] for study in replace(SMALL, slices=20).in_folds(3))
    rows = read_board(out).comparison_groups()[0]
    with figure() as made:
        decisions.draw_risk_coverage(made, rows)
        drawn = [line.get_xydata() for line in made.axes[0].get_lines() if len(line.get_xdata()) > 2]
    for row, curve in zip(sorted(rows, key=lambda row: -row.macro_f1), drawn, strict=True):
        assert curve[-1, 0] == 1
        np.testing.assert_allclose(curve[-1, 1], 1 - row.values["accuracy"])
        np.testing.assert_allclose(curve[:, 1].mean(), row.values["aurc"], atol=0.01)


def test_decision_curves_are_those_of_the_columns(results) -> None:
    out = results(SMALL.run(reader, seed) for reader in FOUR[:2] for seed in (0, 1))
    rows = read_board(out).comparison_groups()[0]
    with figure() as made:
        decisions.draw_net_benefit(made, rows)
        everybody, *drawn = [line.get_xydata() for line in made.axes[0].get_lines() if len(line.get_xdata()) > 2]
    for threshold, column in ((0.05, "net_benefit_05"), (0.1, "net_benefit_10"), (0.2, "net_benefit_20")):
        for row, curve in zip(sorted(rows, key=lambda row: -row.macro_f1), drawn, strict=True):
            at = np.interp(threshold, curve[:, 0], curve[:, 1])
            np.testing.assert_allclose(at, row.values[column], atol=1e-6)
    assert np.interp(0.1, everybody[:, 0], everybody[:, 1]) == pytest.approx(0, abs=1e-9)  # at its own prevalence


def test_without_a_class_without_tumour_there_is_no_decision_curve(results) -> None:
    study = replace(SMALL, classes=("glioma", "meningioma", "pituitary"), negative_class=None)
    out = results([study.run(FOUR[0])])
    stems = [stem for stem, _, _ in wanted(read_board(out))]
    assert "plot_risk_coverage" in stems
    assert "plot_net_benefit" not in stems


def test_a_class_with_many_names_still_draws(results) -> None:
    study = replace(SMALL, name="many", classes=tuple(f"class {i}" for i in range(13)), negative_class=None)
    out = results([study.run(FOUR[0])])
    write_plots(read_board(out), out)
    assert (out / "plot_confusion_matrices.png").stat().st_size > 10_000


def test_pareto_front_keeps_what_nothing_beats() -> None:
    points = [(10, 0.9), (20, 0.95), (30, 0.8), (25, 0.7), (30, 0.7)]
    assert pareto_front(points) == [(20, 0.95), (30, 0.8)]


def data_set(**changes: Any) -> DataSet:
    labels = np.repeat([0, 1], 20)
    patients = np.array([f"p{i // 4}" for i in range(40)])
    values: dict[str, Any] = {
        "name": "small",
        "pixels": np.random.default_rng(0).integers(0, 256, (40, 16, 16, 3), dtype=np.uint8),
        "labels": labels,
        "image_ids": np.array([f"{i}.png" for i in range(40)]),
        "class_names": ("glioma", "notumor"),
        "fingerprint": "0" * 64,
        "identical": np.arange(40),
        "groups": patients,
        "parts": np.array(["train", "train", "train", "test"] * 10),
    }
    return DataSet(**{**values, **changes})


def test_montage_names_classes_and_says_what_is_synthetic(results, undrawn) -> None:
    out = results([(first := replace(SMALL, name="small").run(FOUR[0]))])
    fingerprint = first[0].data.fingerprint
    masks = np.ones((40, 16, 16), dtype=np.uint8)
    png, svg = write_montage(data_set(synthetic=True, masks=masks, fingerprint=fingerprint), out)
    assert "synthetic images, not patients" in svg.read_text()
    assert "glioma" in svg.read_text()
    write_leaderboard(out)
    assert f"({png.name})" in (out / "leaderboard.md").read_text()


def test_a_montage_fills_its_place_with_images(tmp_path: Path) -> None:
    """A minus sign is no ASCII: what replaces letters that no font has once moved the ends of such axes."""
    even = np.full((40, 16, 16, 3), 120, dtype=np.uint8)
    with Image.open(write_montage(data_set(pixels=even), tmp_path)[0]) as image:
        assert (np.asarray(image.convert("L")) == 120).mean() > 0.4


def test_two_data_sets_of_one_name_have_a_montage_each(results, undrawn) -> None:
    studies = [replace(SMALL, name="small"), replace(SMALL, name="small", classes=CLASSES[:3])]
    out = results([study.run(FOUR[0]) for study in studies])
    pngs = [write_montage(data_set(fingerprint=study.data.fingerprint), out)[0].name for study in studies]
    write_leaderboard(out)
    groups = (out / "leaderboard.md").read_text().split("\n## ")[1:3]
    shown = [[name for name in pngs if name in group] for group in groups]
    assert sorted(shown) == sorted([name] for name in pngs)


def test_montage_shows_each_patient_once_before_any_twice_and_no_test_image() -> None:
    data = data_set()
    positions = choose(data, 0, 5)
    assert len(set(data.groups[positions])) == 5
    assert set(data.parts[choose(data, 0, 100)]) == {"train"}
    assert np.array_equal(positions, choose(data, 0, 5))


def test_a_narrow_range_of_speeds_and_losses_still_has_ticks(results) -> None:
    runs = []
    for reader in (replace(FOUR[0], infer=210.0), replace(FOUR[1], infer=240.0)):
        record, predictions = SMALL.run(reader)
        flat = tuple(
            epoch.model_copy(update={"train_loss": 1.39 - epoch.epoch / 100, "val_loss": 1.36 - epoch.epoch / 100})
            for epoch in record.history
        )
        runs.append((record.model_copy(update={"history": flat}), predictions))
    out = results(runs)
    write_plots(read_board(out), out)
    speeds = (out / "plot_macro_f1_vs_throughput.svg").read_text()
    losses = (out / "plot_learning_curves_loss.svg").read_text()
    assert sum(f">{tick}<" in speeds for tick in range(200, 251, 10)) >= 3
    assert sum(f">{tick / 100:.4g}<" in losses for tick in range(126, 140)) >= 2


LONG = tuple(
    f"{kind} (Tipo A, Tipo B, Central - Lateral) {k}" for k in range(4) for kind in ("Glioma", "Lesões", "Neuro")
)


def test_many_classes_all_stand_in_the_figures(results) -> None:
    """Of 17 classes 9 were missing among the false negatives, unsaid."""
    classes = tuple(f"class number {i}" for i in range(17))
    out = results([replace(SMALL, name="many", classes=classes, negative_class=None).run(FOUR[0])])
    write_plots(read_board(out), out)
    for stem in ("plot_false_negatives", "plot_confusion_matrices"):
        drawn = re.sub(r"\s+", " ", (out / f"{stem}.svg").read_text())
        assert all(f"class number {i}" in drawn for i in range(17)), stem


@pytest.mark.parametrize("count", [3, 12, 40])
def test_names_of_classes_do_not_overlap(results, tmp_path: Path, count: int) -> None:
    classes = tuple(f"{LONG[i % 12]}{i}" for i in range(count))
    study = replace(SMALL, name="long", classes=classes, negative_class=None, patients=2 * count)
    board = read_board(results([study.run(FOUR[0]), study.run(FOUR[1])]))
    for draw in (errors.draw_false_negatives, errors.draw_confusion_matrices):
        with figure() as made:
            draw(made, list(board.rows))
            made.canvas.draw()
            for axes in made.axes:
                for labels in (axes.get_yticklabels(), axes.get_xticklabels()) if axes.get_visible() else ():
                    shown = [label for label in labels if label.get_text() and label.get_visible()]
                    assert _overlaps(shown) == 0, [label.get_text() for label in shown]


@pytest.mark.parametrize("count", [3, 40])
def test_a_montage_has_room_for_every_name(count: int) -> None:
    labels = np.repeat(np.arange(count), 4)
    n = len(labels)
    data = data_set(
        labels=labels,
        class_names=tuple(f"{LONG[i % 12]}{i}" for i in range(count)),
        pixels=np.zeros((n, 16, 16, 3), np.uint8),
        image_ids=np.array([f"{i}.png" for i in range(n)]),
        identical=np.arange(n),
        groups=None,
        parts=None,
    )
    with figure() as made:
        draw_montage(made, data)
        made.canvas.draw()
        names = [text for axes in made.axes for text in axes.texts if text.get_text()]
        assert len(names) == count
        assert _overlaps(names) == 0


def _overlaps(texts: Sequence[Any]) -> int:
    """Return how many pairs of texts overlap in a drawn figure, but for half a pixel."""
    boxes = [text.get_tightbbox() for text in texts]
    return sum(
        min(a.x1, b.x1) - max(a.x0, b.x0) > 0.5 and min(a.y1, b.y1) - max(a.y0, b.y0) > 0.5
        for k, a in enumerate(boxes)
        for b in boxes[k + 1 :]
    )


def test_letters_that_no_font_has_are_shown_by_their_codes(results, undrawn, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(fonts, "families", lambda: (fonts.OWN,))
    fonts._letters.cache_clear()
    assert fonts.drawable("胶质瘤") == "[80F6][8D28][7624]"
    assert fonts.drawable("méningiome") == "méningiome"
    classes = ("胶质瘤", "正常", "méningiome")
    out = results([replace(SMALL, name="letters", classes=classes, negative_class=None).run(FOUR[0])])
    write_plots(read_board(out), out)
    drawn = (out / "plot_confusion_matrices.svg").read_text()
    assert "[80F6]" in drawn
    assert "胶" not in drawn
    write_leaderboard(out)
    page = (out / "leaderboard.md").read_text()
    assert page.count("No font on this machine has 5 letters") == 1
    assert "胶质瘤" in page
    fonts._letters.cache_clear()
