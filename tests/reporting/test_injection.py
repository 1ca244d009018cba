"""Text that would like to be more than text: in the browser, in Markdown, LaTeX, CSV, pictures and the terminal."""

import csv
import io
import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from foreign import suite
from markdown_it import MarkdownIt
from simulated import FOUR, Study, explained
from test_page import Visit, browser, images_of  # noqa: F401 (a fixture)

from benchmark.cli.main import main
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore
from benchmark.reporting.figures.thumbnails import write_thumbnails

HTML = "</script><script>window.owned = 1</script><img src=x onerror='window.owned = 1'>"
# One of each kind, each alone where a field's beginning counts.
HOSTILE = (
    HTML, "' autofocus onfocus='window.owned=1' x='", '" onmouseover="window.owned=1" x="',
    "javascript:window.owned=1", "[click](javascript:window.owned=1)", "![x](http://127.0.0.1:9/x.png)", "# heading",
    "| a | b |", "`code`", "{{ 7 * 7 }}", "\\input{/etc/passwd}", "\\write18{touch owned}", "$\\frac{1$", "%",
    "=HYPERLINK(1)", "+1+1", "-1+1", "@SUM(A1)", "\t=1", "\r\n=1", "\x1b[31mred\x1b]0;owned\x07", "\u202egnp.exe",
    "\u2066a\u2069", "a\u200bb", "\x9b31m", "[red]rich[/red]",
)  # fmt: skip
CONTROL = re.compile("[\x00-\x08\x0b-\x1f\x7f-\x9f\u200b-\u200f\u202a-\u202e\u2060-\u206f]")


def stored(out: Path) -> None:
    """Store runs that say something hostile in every field in which a run says anything."""
    everything = " ".join(HOSTILE)
    classes = (f"glioma {HTML}", "=mening\x1b[31m", "notumor", "pituitary \u202e$x$")
    study = Study(patients=12, slices=1, classes=classes, name=f"data {everything}", split=f"split {HTML}")
    for number, text in enumerate((*HOSTILE, everything)):
        reader = FOUR[number % 4]
        failed = number % 5 == 4
        if number == 0:
            record, predictions, cams = explained(study, reader, finds=True)
        else:
            changes: dict[str, Any] = {"outcome": Outcome.ERROR, "reason": text} if failed else {}
            record, predictions = study.run(reader, seed=number, **changes)
            cams = None
        backbone = record.backbone.model_copy(update={"name": text, "note": text, "library": text, "framework": text})
        data = record.data.model_copy(update={"leaks": (text,), "grouping": text})
        provenance = {
            "command": text,
            "log_tail": [text],
            "note": text,
            "host": text,
            text: text,
            "libraries": {text: text},
        }
        record = record.model_copy(
            update={"backbone": backbone, "data": data, "recipe_name": text, "device": text, "provenance": provenance}
        )
        if predictions is not None and number == 1:
            ids = [f"{name} {text}" for name in predictions.image_ids]
            predictions = replace(predictions, image_ids=np.array(ids))
        RecordStore(out).write(record, predictions, cams)
        if number == 0 and predictions is not None:
            pictures = images_of(predictions, record.data.fingerprint)
            write_thumbnails(pictures, range(len(pictures)), out)
    suite(out, "study", "study")


@pytest.fixture(scope="module")
def board(tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("hostile")
    stored(out)
    made = out / "made"
    printed, errors = io.StringIO(), io.StringIO()
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sys.stdout", printed)
        patch.setattr("sys.stderr", errors)
        code = main(["leaderboard", str(out), "--out", str(made)])
    assert code == 0, errors.getvalue()
    (made / "printed").write_text(printed.getvalue() + errors.getvalue(), encoding="utf-8")
    return made


def test_in_the_browser(board: Path, browser: Any) -> None:  # noqa: F811
    visit = Visit(browser, board / "leaderboard.html")
    view = visit.view
    asked: list[str] = []
    view.on("dialog", lambda dialog: asked.append(dialog.message))
    view.evaluate("[...document.querySelectorAll('button, summary, th')].slice(0, 200).forEach(e => e.click())")
    view.evaluate("document.querySelectorAll('*').forEach(e => e.dispatchEvent(new Event('mouseover')))")
    view.mouse.move(300, 300)
    text = view.inner_text("body")
    assert HTML[:20] in text or "window.owned" in text, "it is shown as text"
    assert not CONTROL.search(text), repr(CONTROL.findall(text)[:5])
    hostile = view.evaluate(
        "[...document.querySelectorAll('body *')].filter(e => [...e.attributes].some(a => a.name.startsWith('on') || "
        "/^\\s*javascript:/i.test(a.value))).map(e => e.outerHTML.slice(0, 200))"
    )
    assert hostile == []
    assert asked == []
    visit.assert_well()


def test_markdown_as_a_browser_shows_it(board: Path, browser: Any) -> None:  # noqa: F811
    reader = MarkdownIt("commonmark", {"html": True}).enable("table")
    for path in board.glob("*.md"):
        text = path.read_text(encoding="utf-8")
        assert not CONTROL.search(text), path
        view = browser.new_page()
        asked: list[str] = []
        view.on("request", lambda request, asked=asked: asked.append(request.url))
        view.set_content(reader.render(text))
        assert view.evaluate("window.owned") is None
        links = view.evaluate(
            "[...document.querySelectorAll('[href], [src]')]"
            ".map(e => e.getAttribute('href') ?? e.getAttribute('src'))"
        )
        assert not [link for link in links if link.startswith(("javascript:", "data:", "http://127.0.0.1"))], path
        assert not [url for url in asked if "127.0.0.1" in url], path
        assert view.locator("script, iframe, object, embed").count() == 0
        headings = view.locator("h1, h2, h3, h4, h5, h6").all_inner_texts()
        assert "heading" not in headings
        view.close()


def test_latex_has_no_command_of_theirs(board: Path) -> None:
    for path in board.glob("*.tex"):
        lines = path.read_text(encoding="utf-8").splitlines()
        text = "\n".join(line for line in lines if not line.startswith("% "))  # of ours, how to use it
        assert not CONTROL.search(text)
        for command in ("\\input", "\\write", "\\frac", "\\include", "\\openout", "\\csname"):
            assert command not in text, command
        body = re.sub(r"\\[%$&#_{}]|\\\\", "", text)
        assert not re.search(r"(?<!\\)\$[^$]*frac", body)


def test_cells_are_no_formulas(board: Path) -> None:
    for path in board.glob("*.csv"):
        text = path.read_text(encoding="utf-8")
        assert not CONTROL.search(text), path
        for line in csv.reader(io.StringIO(text)):
            for cell in line:
                number = re.fullmatch(r"[+-]?[\d.]+(e[+-]?\d+)?", cell)
                assert number or not cell.startswith(("=", "+", "-", "@", "\t", "\r")), (path, cell)


def test_pictures_hold_no_script(board: Path) -> None:
    for path in board.glob("*.svg"):
        text = path.read_text(encoding="utf-8")
        assert "<script" not in text
        assert not re.search(r"\son\w+=", re.sub(r">[^<]*<", "><", text)), path


def test_the_terminal_gets_text(board: Path) -> None:
    printed = (board / "printed").read_text(encoding="utf-8")
    assert printed
    assert not CONTROL.search(printed.replace("\n", ""))


def hostile_folder(folder: Path) -> Path:
    """Make a data set whose folders and files have hostile names, as far as a disk allows."""
    from PIL import Image

    random = np.random.default_rng(0)
    for name in ("glioma\x1b[31m", "no\u202etumor", "=1+1"):
        (folder / name).mkdir(parents=True)
        for number in range(6):
            picture = Image.fromarray(random.integers(0, 255, (16, 16), dtype=np.uint8))
            picture.save(folder / name / f"{number}\x1b]0;x\x07\u202e.png")
    return folder


@pytest.mark.parametrize("words", [(), ("--audit",), ("--limit", "x"), ("--group", "nothing")])
def test_the_terminal_gets_text_about_data(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    folder = hostile_folder(tmp_path / "images \x1b[31m")
    main(["data", str(folder), "--size", "16", *words, "--out", str(tmp_path / "out")])
    printed = capsys.readouterr()
    assert printed.out + printed.err
    assert not CONTROL.search((printed.out + printed.err).replace("\n", ""))


@pytest.mark.parametrize(
    "words",
    [
        ("suite", "{suite}"), ("recipe", "{recipe}"), ("recipe", "\x1b[31m"), ("check", "\x1b[31m"), ("\x1b[31m",),
        ("leaderboard", "\x1b[31m"), ("--backbone", "\x1b[31m"), ("--data", "\x1b[31m", "--all"),
        ("list", "--plugin", "{plugin}"),
    ],
)  # fmt: skip
def test_the_terminal_gets_text_from_every_command(
    words: tuple[str, ...], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    files = {"suite": tmp_path / "suite.toml", "recipe": tmp_path / "recipe.toml", "plugin": tmp_path / "plugin.py"}
    files["suite"].write_text(
        'about = "a \\u001b[31m \\u202e"\nbackbones = ["torch/baseline_cnn"]\n'
        '[[entries]]\nname = "\\u001b[31m"\nnote = "\\u202e"\n'
    )
    files["recipe"].write_text('size = "\\u001b[31m"\n')
    files["plugin"].write_text("raise ValueError('\\x1b[31m red')\n")
    main([word.format(**files) for word in words])
    printed = capsys.readouterr()
    assert printed.out + printed.err
    assert not CONTROL.search((printed.out + printed.err).replace("\n", ""))
