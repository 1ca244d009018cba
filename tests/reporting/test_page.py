"""leaderboard.html as a reader meets it: offline, in a real browser."""

import io
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from simulated import CLASSES, FOUR, TWELVE, Study

from benchmark.data.dataset import DataSet
from benchmark.outcomes import Outcome
from benchmark.record import Predictions, Record
from benchmark.reporting.leaderboard import read_board, write_leaderboard
from benchmark.reporting.page import page, script_json
from benchmark.reporting.thumbnails import read_thumbnails, write_thumbnails

STUDY = Study(patients=40, slices=3)
HOSTILE = "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"


def images_of(predictions: Predictions, fingerprint: str) -> DataSet:
    """Return a data set whose images are those of a record's predictions."""
    test = predictions.part("test")
    pixels = np.random.default_rng(0).integers(0, 256, (len(test.labels), 96, 96, 3), dtype=np.uint8)
    return DataSet(
        name="phantom",
        pixels=pixels,
        labels=test.labels,
        image_ids=test.image_ids,
        class_names=CLASSES,
        fingerprint=fingerprint,
        identical=np.arange(len(test.labels)),
    )


def runs() -> list[tuple[Record, Predictions | None]]:
    failed = STUDY.run(TWELVE[5], outcome=Outcome.OOM, reason=HOSTILE)
    return [*(STUDY.run(reader) for reader in FOUR), failed]


@pytest.fixture
def html(results) -> Path:
    stored = runs()
    out: Path = results(stored)
    record, predictions = stored[0]
    assert predictions is not None
    data = images_of(predictions, record.data.fingerprint)
    write_thumbnails(data, range(len(data)), out)
    write_leaderboard(out)
    return out / "leaderboard.html"


@pytest.fixture
def browser() -> Iterator[Any]:
    playwright = pytest.importorskip("playwright.sync_api", reason="playwright is not installed")
    chromium = shutil.which("chromium") or shutil.which("chromium-browser") or shutil.which("google-chrome")
    if chromium is None:
        pytest.skip("no Chromium on this machine")
    with playwright.sync_playwright() as driver:
        opened = driver.chromium.launch(
            executable_path=chromium, args=["--no-sandbox", "--disable-gpu", "--disable-background-networking"]
        )
        yield opened
        opened.close()


def test_works_offline_in_a_browser(html: Path, browser: Any) -> None:
    view = browser.new_page(viewport={"width": 1400, "height": 900})
    troubles: list[str] = []
    asked: list[str] = []
    view.on("console", lambda message: troubles.append(message.text))
    view.on("pageerror", lambda error: troubles.append(str(error)))
    view.on("request", lambda request: asked.append(request.url))
    view.goto(html.as_uri())
    view.wait_for_function("document.documentElement.dataset.ready === '1'")

    assert "not for clinical use" in view.inner_text("header")
    assert "synthetic" in view.inner_text("h2 >> nth=0")
    names = view.locator("table.board tbody tr td:nth-child(2)")
    before = names.all_inner_texts()
    assert len(before) == 5
    view.locator("table.board thead th", has_text="macro-F1").click()
    view.wait_for_function("document.querySelector('th.dt-ordering-asc') !== null")
    assert names.all_inner_texts() != before  # sorted, the lowest first

    view.fill(".dt-search input", "resnet50")
    assert len(names.all_inner_texts()) == 1
    view.fill(".dt-search input", "")

    view.click("button.pick >> text=keras/baseline_cnn")
    wrong = view.locator("table.confusion button.missed").filter(has_not_text="0").first
    wrong.click()
    assert view.locator(".cell-images li").count() == int(wrong.inner_text())
    assert view.locator(".cell-images img").count() == int(wrong.inner_text())

    view.click("#theme")
    assert view.evaluate("document.documentElement.classList.contains('dark')")
    assert view.evaluate("window.owned") is None
    assert troubles == []
    assert [url for url in asked if not url.startswith(("file:", "data:", "blob:"))] == []


def test_fits_a_phone(html: Path, browser: Any) -> None:
    view = browser.new_page(viewport={"width": 390, "height": 844})
    view.goto(html.as_uri())
    view.wait_for_function("document.documentElement.dataset.ready === '1'")
    assert view.evaluate("document.documentElement.scrollWidth") <= 390


def test_names_cannot_become_markup(html: Path) -> None:
    text = html.read_text()
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;script&gt;window.owned" in text
    assert script_json({"name": HOSTILE}).count("<") == 0


def test_everything_is_inside(html: Path) -> None:
    text = html.read_text()
    assert "<link" not in text
    assert "<script src" not in text
    assert len(text) < 15_000_000


def test_twelve_rows_on_1311_images_stay_below_15_mb(results) -> None:
    study = Study(patients=1311, slices=1, grouped=False)
    out = results(study.run(reader) for reader in TWELVE)
    board = read_board(out)
    first = board.results[0]
    assert first.predictions is not None
    small = {str(name): bytes(2500) for name in first.predictions.part("test").image_ids}
    assert len(page(board, {first.record.data.fingerprint: small})) < 15_000_000


def test_thumbnails_are_small_and_kept_once(tmp_path: Path) -> None:
    _, predictions = STUDY.run(FOUR[0])
    assert predictions is not None
    data = images_of(predictions, "f" * 64)
    path = write_thumbnails(data, [0, 1], tmp_path)
    assert set(read_thumbnails(tmp_path, "f" * 64)) == set(data.image_ids[:2])
    write_thumbnails(data, [1, 2], tmp_path)
    kept = read_thumbnails(tmp_path, "f" * 64)
    assert set(kept) == set(data.image_ids[:3])
    with Image.open(io.BytesIO(next(iter(kept.values())))) as image:
        assert image.size == (80, 80)
    before = path.read_bytes()
    write_thumbnails(data, [0, 1, 2], tmp_path)
    assert path.read_bytes() == before


def test_latex_escapes_names(results) -> None:
    record, predictions = STUDY.run(FOUR[0])
    data = record.data.model_copy(update={"name": "50%_a&b{x}\\input"})
    out = results([(record.model_copy(update={"data": data}), predictions)])
    write_leaderboard(out)
    text = (out / "leaderboard.tex").read_text()
    assert r"50\%\_a\&b\{x\}\textbackslash{}input" in text
    assert r"\toprule" in text
    assert "0.8" in text
