"""leaderboard.html as a reader meets it: offline, in a real browser."""

import base64
import io
import os
import re
import shutil
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image
from simulated import CLASSES, FOUR, TWELVE, Study, explained

from benchmark.data.dataset import DataSet
from benchmark.recipe import Recipe
from benchmark.records.outcomes import Outcome
from benchmark.records.record import Cams, Predictions, Record
from benchmark.records.store import RecordStore
from benchmark.reporting.board.image_cases import Cases
from benchmark.reporting.board.pairs import row_pairs, sentence
from benchmark.reporting.figures.thumbnails import read_thumbnails, thumbnail_path, write_thumbnails
from benchmark.reporting.leaderboard import read_board, write_leaderboard
from benchmark.reporting.page.page import page, script_json
from benchmark.reporting.summary.answers import across_blocks

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


def runs() -> list[tuple[Record, Predictions | None, Cams | None]]:
    """Return four runs, of which two have heat maps, and one that failed."""
    record, predictions = STUDY.run(TWELVE[5], outcome=Outcome.OOM, reason=HOSTILE)
    looks = [explained(STUDY, reader, finds=finds) for reader, finds in ((FOUR[0], True), (FOUR[1], False))]
    return [*looks, *((*STUDY.run(reader), None) for reader in FOUR[2:]), (record, predictions, None)]


@pytest.fixture(scope="module")
def html(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out, stored = tmp_path_factory.mktemp("board"), runs()
    for record, predictions, cams in stored:
        backbone = record.backbone.model_copy(update={"note": f"made for {record.backbone.framework}"})
        provenance = {"command": "python -m benchmark --all"}
        typed = record.model_copy(update={"provenance": provenance, "backbone": backbone})
        RecordStore(out).write(typed, predictions, cams)
    record, predictions, _ = stored[0]
    assert predictions is not None
    data = images_of(predictions, record.data.fingerprint)
    write_thumbnails(data, range(len(data)), out)
    write_leaderboard(out)
    return out / "leaderboard.html"


@pytest.fixture(scope="module")
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


class Visit:
    """A page that is open in a browser, and what went wrong in it."""

    def __init__(self, browser: Any, html: Path, width: int = 1400, scheme: str = "light") -> None:
        self.troubles: list[str] = []
        self.asked: list[str] = []
        self.view = browser.new_page(viewport={"width": width, "height": 900}, color_scheme=scheme)
        self.view.on("console", lambda message: self.troubles.append(message.text))
        self.view.on("pageerror", lambda error: self.troubles.append(str(error)))
        self.view.on("request", lambda request: self.asked.append(request.url))
        self.view.goto(html.as_uri())
        self.view.wait_for_function("document.documentElement.dataset.ready === '1'")

    def assert_well(self) -> None:
        """Assert that there was no error, and nothing was asked of any network."""
        assert self.troubles == []
        assert [url for url in self.asked if not url.startswith(("file:", "data:", "blob:"))] == []
        assert self.view.evaluate("window.owned") is None


def test_the_page_needs_no_home(results, tmp_path: Path) -> None:
    """A container's user may have neither HOME nor an entry of its own; some libraries look for a home on import."""
    out = results([Study(patients=8, slices=2).run(FOUR[0])])
    code = (
        "import pathlib, sys\n"
        "def homeless(*_): raise RuntimeError('could not determine the home directory')\n"
        "import os; os.path.expanduser = lambda path: path\n"
        "pathlib.Path.home = classmethod(homeless)\n"
        "from benchmark.reporting.leaderboard import read_board\n"
        "from benchmark.reporting.page.page import page\n"
        f"text = page(read_board(pathlib.Path({str(out)!r})), {{}})\n"
        "assert 'TumorBoard leaderboard' in text\n"
        "assert not {'itables', 'plotly'} & set(sys.modules), 'imported for a file of it'\n"
    )
    environment = {name: value for name, value in os.environ.items() if not name.startswith(("HOME", "XDG_"))}
    done = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=False)
    assert done.returncode == 0, done.stderr


def test_sorts_filters_and_opens_the_images_of_a_cell(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view = visit.view
    assert "not for clinical use" in view.inner_text("header")
    assert "synthetic" in view.inner_text("h2 >> nth=0")
    names = view.locator("table.board tbody tr td.who")
    before = names.all_inner_texts()
    assert len(before) == 5
    view.locator("table.board thead th", has_text="macro-F1").click()
    view.wait_for_function("document.querySelector('th.dt-ordering-desc') !== null")  # the best first
    view.locator("table.board thead th", has_text="macro-F1").click()
    view.wait_for_function("document.querySelector('th.dt-ordering-asc') !== null")
    assert names.all_inner_texts() != before

    view.fill(".dt-search input", "resnet50")
    assert len(names.all_inner_texts()) == 1
    view.fill(".dt-search input", "")

    view.click("button.pick >> text=keras/baseline_cnn")
    wrong = view.locator("table.confusion button.missed").filter(has_not_text="0").first
    wrong.click()
    for kind in ("li", "img"):
        assert view.locator(f".chosen-row .cell-images {kind}").count() == int(wrong.inner_text())

    view.click("button:has-text('Columns')")
    assert view.evaluate(  # the last of many entries can be scrolled to, and stands on the menu's own ground
        """() => {
            const menu = document.querySelector('.dt-button-collection');
            const last = [...menu.querySelectorAll('button')].at(-1);
            last.scrollIntoView({ block: 'nearest' });
            const [outer, inner] = [menu, last].map((each) => each.getBoundingClientRect());
            return inner.top >= outer.top && inner.bottom <= outer.bottom;
        }"""
    )
    view.click(".dt-button-collection button:has-text('MCC')")
    assert view.locator("table.board thead th", has_text="MCC").is_visible()
    visit.assert_well()


def test_shows_every_missed_tumour_and_where_rows_look(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view = visit.view
    (rows,) = read_board(html.parent).comparison_groups()
    parts = Cases.of(rows).gallery()
    gallery = view.locator(".panel", has=view.locator("h3:has-text('Gallery')"))
    assert gallery.locator("li").count() == min(8, len(parts[0][1]))  # in front, unasked
    assert parts[0][0] in gallery.locator("h4").inner_text()
    for number, (title, images) in enumerate(parts):
        gallery.locator(".controls button").nth(number).click()
        assert title in gallery.locator("h4").inner_text()
        assert gallery.locator("li").count() == len(images)
        # every row's probability stands beside each image
        assert gallery.locator("li").first.locator(".probability:visible").count() == 4

    view.click("button.pick >> text=torch/baseline_cnn")
    assert view.locator(".heat-maps .pair").count() > 8
    assert view.locator(".heat-maps canvas").count() == view.locator(".heat-maps .pair").count()
    gallery.locator(".controls button").first.click()
    gallery.locator("input[type=checkbox]").check()
    assert gallery.locator("li canvas").count() == gallery.locator("li").count()
    assert gallery.locator("li svg.lesion path").count() == gallery.locator("li").count()
    # the map is highest at the lesion, and not transposed or mirrored: it is drawn where the outline is
    assert view.evaluate(
        """() => [...document.querySelectorAll('.heat-maps .seen:has(canvas):has(svg.lesion)')].every((seen) => {
            const canvas = seen.querySelector('canvas'), box = seen.querySelector('path').getBBox();
            const pixels = canvas.getContext('2d').getImageData(0, 0, canvas.width, canvas.height).data;
            const x = Math.floor((box.x + box.width / 2) / 200 * canvas.width);
            const y = Math.floor((box.y + box.height / 2) / 200 * canvas.height);
            const light = (i) => pixels[4 * i] + pixels[4 * i + 1] + pixels[4 * i + 2];
            const at = light(y * canvas.width + x);
            return [...Array(canvas.width * canvas.height).keys()].every((i) => light(i) <= at);
        })"""
    )
    view.click("button.pick >> text=timm/tf_efficientnet_lite0")
    assert "has no heat maps" in view.inner_text(".chosen-row")
    visit.assert_well()


def test_a_plot_is_not_taken_away_while_it_is_drawn(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    visit.view.click("button.pick >> nth=0")  # scrolls to its plots
    visit.view.wait_for_selector(".chosen-row .js-plotly-plot")
    taken, early = visit.view.evaluate(
        """async () => {
            const { react, purge } = Plotly, drawn = new Set();
            const wait = (ms) => new Promise((done) => setTimeout(done, ms));
            let taken = 0, early = 0;
            Plotly.react = async (place, ...rest) => {
                drawn.add(place);
                await react(place, ...rest);
                await wait(200);
                drawn.delete(place);
            };
            Plotly.purge = (place) => { taken += 1; early += drawn.has(place); purge(place); };
            for (const button of document.querySelectorAll("button.pick")) { button.click(); await wait(100); }
            await wait(3000);
            return [taken, early];
        }"""
    )
    assert taken > 0
    assert early == 0
    visit.assert_well()


def test_is_used_by_keyboard_in_the_dark(html: Path, browser: Any) -> None:
    visit = Visit(browser, html, scheme="dark")
    view = visit.view
    assert view.evaluate("document.documentElement.classList.contains('dark')")
    assert view.get_attribute("#theme", "aria-pressed") == "true"
    view.focus("table.board thead th[data-name=macro_f1] [role=button]")
    view.keyboard.press("Enter")
    view.wait_for_function("document.querySelector('th.dt-ordering-desc') !== null")
    view.focus("button.pick >> text=keras/resnet50")
    view.keyboard.press("Enter")
    assert "keras/resnet50" in view.evaluate("document.activeElement.textContent")  # its details have the focus
    for button in view.locator("table.confusion button").all():
        assert " predicted as " in (button.get_attribute("aria-label") or "")
    view.locator(".chosen-row select").select_option("f1")
    view.wait_for_selector(".chosen-row .js-plotly-plot")
    for plot in view.locator(".plot").all():
        assert plot.get_attribute("aria-label")
    view.focus("#theme")
    view.keyboard.press("Space")
    assert not view.evaluate("document.documentElement.classList.contains('dark')")
    assert view.inner_text(".chosen-row pre") == "python -m benchmark --backbone keras/resnet50 --seed 0 --rerun"
    view.click(".chosen-row summary >> text=recipe")
    assert view.is_visible(".chosen-row .facts >> text=optimizer.learning_rate")
    visit.assert_well()


def test_rows_of_one_backbone_show_by_what_they_differ(html: Path, results: Any) -> None:
    changed = STUDY.run(FOUR[0], recipe=Recipe(epochs=5, size=128), recipe_name="default + epochs=5")
    alike = page(read_board(results([STUDY.run(FOUR[0]), changed])), {})
    for text, shown in ((alike, True), (html.read_text(encoding="utf-8"), False)):
        assert ("recipe" in re.findall(r'data-shown="1"[^>]*>([^<]*)</th>', text)) is shown


def test_notes_are_folded_and_marks_lead_to_them(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view = visit.view
    box = view.locator("table.board").bounding_box()
    assert box is not None
    assert box["y"] < 700  # the table begins on the first screen, under the answer and the doubts
    notes = view.locator("details.row-notes")
    assert "Notes: 1 on rows" in notes.locator("summary").inner_text()
    note = notes.locator("li").first
    assert not note.is_visible()
    notes.locator("summary").focus()
    for shown in (True, False):
        view.keyboard.press("Enter")
        assert note.is_visible() is shown
    marked = view.locator("tr:has(a.mark) button.pick").all_inner_texts()
    assert marked == [name for name in marked if "baseline_cnn" in name] != []
    assert len(marked) == 2
    view.click("a.mark >> nth=1")
    assert note.is_visible()
    assert view.evaluate("document.activeElement.textContent") == note.inner_text()
    assert "Not the same network: keras/baseline_cnn is made for tensorflow; torch/base" in note.inner_text()
    view.click("nav a.inside")
    assert view.evaluate("document.activeElement.textContent") == "How to read this"
    visit.assert_well()


def test_two_rows_are_compared_in_a_sentence(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    panel = visit.view.locator(".panel", has=visit.view.locator("h3:has-text('Compare two rows')"))
    said, (first, second) = panel.locator("p[role=status]"), panel.locator("select").all()
    board = read_board(html.parent)
    pairs = [pair for block in board.statistics for pair in row_pairs(board, block)]
    assert len(pairs) == 2  # pretrained rows, and rows from scratch
    for pair in pairs:
        for one, other in ((first, second), (second, first)):
            one.select_option(label=pair.names[0])
            other.select_option(label=pair.names[1])
            assert said.inner_text() == sentence(pair)
            assert f"{pair.compared.difference:.3f} more macro-F1" in said.inner_text()
    # a row of another block: compared on the same images, and what differs is said
    one, other = pairs[0].rows[0], pairs[1].rows[0]
    compared = across_blocks(one, other)
    assert compared is not None
    first.select_option(label=pairs[0].names[0])
    second.select_option(label=pairs[1].names[0])
    text = said.inner_text()
    assert "different blocks (pretrained; scratch)" in text
    low, high = sorted(np.sign(compared.difference) * np.array([compared.interval.low, compared.interval.high]))
    assert f"has {abs(compared.difference):.3f} more macro-F1" in text
    ends = [float(end) for end in re.search(r"interval (\S+) to ([^,]+),", text).groups()]  # type: ignore[union-attr]
    assert ends == pytest.approx([low, high], abs=0.01)  # the draws of seeds aside, the same bootstrap
    visit.assert_well()


def shown(view: Any) -> list[str]:
    """Return the backbones of the rows that are shown, in their order."""
    return view.evaluate(
        "[...document.querySelectorAll('table.board tbody tr[data-key]')].filter((row) => row.offsetHeight)"
        ".map((row) => (row.querySelector('.who button') ?? row.querySelector('.who')).innerText.trim())"
    )


@pytest.mark.parametrize(
    ("column", "condition", "value"),
    [
        ("macro_f1", ">", "0.8"),  # a score with an interval
        ("fn_glioma", "<", "8"),  # a count with an interval
        ("infer_images_per_s", ">", "1000"),  # a number without one
        ("params_m", "<", "4"),
        ("rank", "=", "1"),
        ("framework", "=", "torch"),
        ("backbone", "contains", "resnet"),
    ],
)
def test_conditions_go_by_the_number_of_each_kind_of_column(
    html: Path, browser: Any, column: str, condition: str, value: str
) -> None:
    visit = Visit(browser, html)
    view = visit.view
    test = {
        ">": lambda cell: float(cell) > float(value),
        "<": lambda cell: float(cell) < float(value),
        "=": lambda cell: str(cell) == value,
        "contains": lambda cell: value in str(cell),
    }[condition]
    lines = [row.line for row in read_board(html.parent).rows]
    meeting = {line["backbone"] for line in lines if line.get(column) is not None and test(line[column])}
    assert 0 < len(meeting) < len(lines)
    view.set_default_timeout(10_000)
    view.click("button:has-text('Conditions')")
    title = view.inner_text(f"table.board th[data-name={column}]") if column != "params_m" else "parameters M"
    view.select_option("select.dtsb-data", label=re.sub(r"\s+", " ", title).strip())
    view.select_option("select.dtsb-condition", value=condition)
    if condition == "=":
        view.locator("select.dtsb-value:not([disabled])").first.select_option(label=value)
    else:
        view.locator("input.dtsb-value").first.fill(value)
    view.wait_for_function(f"document.querySelector('.dt-info').innerText === '{len(meeting)} of 5 rows'")
    assert set(shown(view)) == meeting
    assert "Conditions (1)" in view.inner_text(".dt-buttons")
    view.evaluate("document.querySelector('.dt-button-background')?.click()")
    view.click(".dt-buttons .clear")
    assert len(shown(view)) == 5
    assert "(" not in view.inner_text(".dt-buttons")
    visit.assert_well()


def test_a_condition_without_a_value_can_be_cleared(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view, clear = visit.view, visit.view.locator(".dt-buttons .clear")
    view.set_default_timeout(10_000)
    assert clear.is_disabled()
    view.click("button:has-text('Conditions')")
    view.select_option("select.dtsb-data", label="framework")
    view.evaluate("document.querySelector('.dt-button-background')?.click()")
    assert len(shown(view)) == 5, "it asks for nothing yet"
    view.wait_for_function("!document.querySelector('.dt-buttons .clear').disabled")
    clear.click()
    view.wait_for_function("document.querySelector('.dt-buttons .clear').disabled")
    view.click("button:has-text('Conditions')")
    assert view.locator("select.dtsb-data").input_value() == "", "a new condition of no column yet"
    visit.assert_well()


def test_the_rows_that_are_shown_are_copied_for_other_programs(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view = visit.view
    view.evaluate("document.execCommand = (what) => { window.copied = document.activeElement.value; return true; }")
    view.fill(".dt-search input", "resnet50")
    view.click(".dt-buttons button:has-text('Copy')")
    view.wait_for_function("window.copied !== undefined")
    head, *lines = [line.split("\t") for line in view.evaluate("window.copied").strip().splitlines()]
    [line] = [row.line for row in read_board(html.parent).rows if "resnet50" in str(row.line["backbone"])]
    [cells] = lines
    copied = dict(zip(head, cells, strict=True))
    assert copied["backbone"] == line["backbone"]
    assert float(copied["macro_f1"]) == pytest.approx(line["macro_f1"], abs=1e-3)
    visit.assert_well()


def test_sections_stay_apart_in_every_order(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view = visit.view
    block = {row.values["backbone"]: row.block.place for row in read_board(html.parent).rows}
    for name in ("macro_f1", "infer_images_per_s", "backbone"):
        for _ in range(2):
            view.click(f"table.board th[data-name={name}]")
            places = [block[backbone] for backbone in shown(view)]
            assert places == sorted(places, key=["pretrained", "scratch", "failed"].index)
    heads = view.locator("tr.section").all_inner_texts()
    assert [head.split(":")[0] for head in heads] == ["Pretrained", "From scratch (random weights)", "Failed"]
    visit.assert_well()


def test_the_link_keeps_columns_filter_order_and_row(html: Path, browser: Any) -> None:
    visit = Visit(browser, html)
    view = visit.view
    view.click("button:has-text('Columns')")
    view.click(".dt-button-collection button:has-text('F1 glioma')")
    view.evaluate("document.querySelector('.dt-button-background')?.click()")
    view.click("table.board th[data-name=fn_glioma]")
    view.fill(".dt-search input", "baseline")
    view.click("button.pick >> text=keras/baseline_cnn")
    before = shown(view)
    again = Visit(browser, Path(html))
    again.view.goto(view.url)
    again.view.reload()
    again.view.wait_for_function("document.documentElement.dataset.ready === '1'")
    assert shown(again.view) == before
    assert len(before) == 2
    assert again.view.is_visible("table.board th[data-name=f1_glioma]")
    assert "keras/baseline_cnn" in again.view.inner_text(".row-name")
    assert again.view.locator("th.dt-ordering-asc[data-name=fn_glioma]").count() == 1
    again.assert_well()


def test_rows_that_may_have_guessed_are_folded_and_say_why(results: Any, browser: Any, undrawn: None) -> None:
    study = Study(patients=20, slices=2)
    record, predictions = study.run(replace(TWELVE[0], name="torch/lazy"))
    assert predictions is not None
    always = np.zeros_like(predictions.probabilities)
    always[:, 3] = 1.0
    lazy = record, replace(predictions, probabilities=always)
    out = results([study.run(TWELVE[2]), study.run(TWELVE[1]), lazy])
    visit = Visit(browser, write_leaderboard(out).page)
    view = visit.view
    assert "torch/lazy" not in shown(view)
    head = view.locator("tr.section", has_text="Not shown to be better than guessing")
    assert "Answers one class, after 36 steps" in head.inner_text()
    head.locator("button").click()
    assert "torch/lazy" in shown(view)
    assert view.locator("tr[data-folded] .remark").first.inner_text() == "answers 'pituitary' for every image"
    assert "answers 'pituitary' for every image" in (out / "leaderboard.md").read_text()
    box = view.inner_text(".answers")
    assert "do not choose a backbone by it" in box
    assert "torch/lazy" not in box
    assert "Did pretraining pay?" in box
    for answer in write_leaderboard(out).answers:
        assert answer.split(": ", 1)[-1].split("? ", 1)[-1] in box
    visit.assert_well()


def test_a_picture_that_is_missing_says_so(results: Any, browser: Any, undrawn: None) -> None:
    visit = Visit(browser, write_leaderboard(results([STUDY.run(FOUR[0])])).page)
    missing = visit.view.locator(".images li .seen")
    assert missing.count() > 0
    assert set(missing.all_inner_texts()) == {"no picture kept"}
    visit.assert_well()


def test_plots_are_drawn_before_the_page_is_printed(html: Path, browser: Any) -> None:
    visit = Visit(browser, html, scheme="dark")
    view = visit.view
    view.evaluate("dispatchEvent(new Event('beforeprint'))")
    assert view.evaluate(
        "[...document.querySelectorAll('.plot')].every((plot) => plot.querySelector('svg.main-svg'))"
    )
    assert not view.evaluate("document.documentElement.classList.contains('dark')")
    assert view.locator("details.row-notes li").first.is_visible()
    view.evaluate("dispatchEvent(new Event('afterprint'))")
    assert not view.locator("details.row-notes li").first.is_visible()
    assert view.evaluate("document.documentElement.classList.contains('dark')")
    visit.assert_well()


def test_fits_a_phone(html: Path, browser: Any) -> None:
    visit = Visit(browser, html, width=390)
    assert visit.view.evaluate("document.documentElement.scrollWidth") <= 390
    visit.view.locator("table.confusion button:not(:text('0'))").first.click()
    assert visit.view.evaluate("document.documentElement.scrollWidth") <= 390
    visit.assert_well()


def test_names_cannot_become_markup(html: Path) -> None:
    text = html.read_text()
    assert HOSTILE not in text
    assert "&lt;/script&gt;&lt;script&gt;window.owned" in text
    assert script_json({"name": HOSTILE}).count("<") == 0


def test_everything_is_inside(html: Path) -> None:
    text = html.read_text()
    assert "<link" not in text
    assert "<script src" not in text
    assert len(text) < 4_000_000  # the libraries are packed


def test_two_comparison_groups_of_the_same_images(tmp_path: Path, browser: Any) -> None:
    """Each picture stands in the page once and is seen in both; landmarks have names of their own."""
    for study in (STUDY, replace(STUDY, split="slice", leaks=("patients are not kept apart",))):
        record, predictions, cams = explained(study, FOUR[0], finds=True)
        RecordStore(tmp_path).write(record, predictions, cams)
    data = images_of(predictions, record.data.fingerprint)
    write_thumbnails(data, range(len(data)), tmp_path)
    kept = read_thumbnails(tmp_path, record.data.fingerprint)
    text = page(read_board(tmp_path), {record.data.fingerprint: kept})
    for jpeg in kept.values():
        assert text.count(base64.b64encode(jpeg).decode("ascii")) == 1
    (tmp_path / "two.html").write_text(text, encoding="utf-8")
    visit = Visit(browser, tmp_path / "two.html")
    galleries = visit.view.locator(".panel", has=visit.view.locator("h3:has-text('Gallery')"))
    assert galleries.count() == 2
    for gallery in galleries.all():
        assert gallery.locator("li img").count() == gallery.locator("li").count() > 0
    labels = visit.view.eval_on_selector_all(
        "[role=region]", "(all) => all.map((one) => one.getAttribute('aria-label'))"
    )
    assert len(labels) > 10
    assert len(set(labels)) == len(labels)
    visit.assert_well()


def test_every_link_beside_the_page_leads_to_a_file(html: Path) -> None:
    linked = re.findall(r'href="([^"#]+)"', html.read_text(encoding="utf-8").partition("</nav>")[0])
    assert {"leaderboard.md", "columns.csv", "report.md", "gallery.md", "README.txt"} <= set(linked)
    assert [name for name in linked if not (html.parent / name).is_file()] == []


def test_twelve_rows_on_1311_images_stay_below_9_mb(results) -> None:
    study = Study(patients=1311, slices=1, grouped=False)
    out = results(study.run(reader) for reader in TWELVE)
    board = read_board(out)
    first = board.results[0]
    assert first.predictions is not None
    small = {str(name): bytes(2500) for name in first.predictions.part("test").image_ids}
    assert len(page(board, {first.record.data.fingerprint: small})) < 9_000_000


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


def test_thumbnails_that_are_none_are_left_out(results) -> None:
    record, predictions = STUDY.run(FOUR[0])
    assert predictions is not None
    out = results([(record, predictions)])
    path = thumbnail_path(out, record.data.fingerprint)
    path.parent.mkdir()
    first, second = predictions.part("test").image_ids[:2].tolist()
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(first, bytes(50_000_000))
        archive.writestr(second, b"no picture")
    assert set(read_thumbnails(out, record.data.fingerprint)) == {second}
    write_leaderboard(out)
    assert (out / "gallery.png").exists()
    path.write_bytes(path.read_bytes()[:-30])
    assert read_thumbnails(out, record.data.fingerprint) == {}


def test_published_results_stand_in_a_table_of_their_own(results) -> None:
    study = replace(STUDY, name="nickparvar-v1", synthetic=False, grouped=False, split="official")
    out = results([study.run(FOUR[0])])
    text = page(read_board(out), {})
    board, published = text.split('<table class="published">')
    assert "MRICovNetX" in published.split("</table>")[0]
    assert "MRICovNetX" not in board.split('<table class="board"')[1]
    assert "nor compared" in text
    assert "official split ≠" in published


def test_latex_escapes_names(results, undrawn) -> None:
    record, predictions = STUDY.run(FOUR[0])
    data = record.data.model_copy(update={"name": "50%_a&b{x}\\input"})
    out = results([(record.model_copy(update={"data": data}), predictions)])
    write_leaderboard(out)
    text = (out / "leaderboard.tex").read_text()
    assert r"50\%\_a\&b\{x\}\textbackslash{}input" in text
    assert r"\toprule" in text
    assert "0.8" in text
