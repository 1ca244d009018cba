"""Which plots are written, and that nothing in them lies on something else."""

from dataclasses import replace

import numpy as np
import pytest
from PIL import Image
from simulated import FOUR, TWELVE, Study

from benchmark.outcomes import Outcome
from benchmark.reporting.labels import place
from benchmark.reporting.leaderboard import write_leaderboard

SMALL = Study(patients=24, slices=2)


def test_speed_plot_is_written_as_png_and_svg(results) -> None:
    out = results(SMALL.run(reader) for reader in FOUR)
    write_leaderboard(out)
    with Image.open(out / "plot_macro_f1_vs_throughput.png") as image:
        assert image.width == pytest.approx(88 / 25.4 * 300, abs=2)
    svg = (out / "plot_macro_f1_vs_throughput.svg").read_text()
    assert "tf_efficientnet_lite0" in svg  # text stays text: it can be searched and edited
    assert "synthetic" in svg


def test_names_are_plain_text_in_a_plot(results) -> None:
    record, predictions = SMALL.run(FOUR[0])
    data = record.data.model_copy(update={"name": "<script>$x^2$"})
    out = results([(record.model_copy(update={"data": data}), predictions)])
    write_leaderboard(out)
    assert "&lt;script&gt;$x^2$" in (out / "plot_macro_f1_vs_throughput.svg").read_text()


def test_plots_of_an_earlier_board_do_not_stay(results) -> None:
    out = results([SMALL.run(FOUR[0])])
    write_leaderboard(out)
    results([SMALL.run(FOUR[0], outcome=Outcome.OOM, reason="no memory")])
    (out / "plot_of_my_own.png").write_bytes(b"mine")
    write_leaderboard(out)
    assert not (out / "plot_macro_f1_vs_throughput.png").exists()
    assert (out / "plot_of_my_own.png").exists()


def test_speeds_of_two_devices_are_two_plots(results) -> None:
    out = results([SMALL.run(FOUR[0]), replace(SMALL, device="NVIDIA T4").run(TWELVE[2])])
    write_leaderboard(out)
    assert len(list(out.glob("plot_macro_f1_vs_throughput*.svg"))) == 2


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
