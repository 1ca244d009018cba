"""Makes every figure and table of the README and the documentation from a kept board; nothing is drawn by hand.

``python docs/make_figures.py`` needs the project, Playwright and an installed Chromium. It writes
``docs/figures/*.png`` and the tables between the markers ``<!-- board -->`` and ``<!-- /board -->``.
"""

import csv
import io
import re
import shutil
from pathlib import Path

ROOT = Path(__file__).parents[1]
BOARD = ROOT / "results" / "boards" / "nickparvar-v1-128px"
FIGURES = ROOT / "docs" / "figures"
PAGES = ("README.md", "docs/first-board.md")
SIZE = (1500, 1020)  # of the picture of the page, in CSS pixels: down to the end of the table
COLOURS = 128  # a palette makes the picture a third as large
SLICE_SIZE, SLICE = 96, 40  # pixels of a slice of the phantom that is spoilt, and which one of the gliomas
COPIED = {"plot_macro_f1_vs_throughput.png": "macro_f1_vs_throughput.png"}


def table(board: Path) -> str:
    """Return a board's rows as a Markdown table, with how long each took to train."""
    with (board / "leaderboard.csv").open(encoding="utf-8", newline="") as stream:
        rows = [row for row in csv.DictReader(stream) if row["framework"] != "none"]  # a network's
    lines = [
        "| rank | backbone | weights | macro-F1 (95 % interval) | tumours missed | images/s, prediction | minutes |",
        "| --: | :-- | :-- | --: | --: | --: | --: |",
    ]
    block = ""
    for row in rows:
        kind = "ImageNet" if row["weights"] == "imagenet" else "random"
        missed = sum(int(value) for name, value in row.items() if re.fullmatch(r"missed_(?!.*_(low|high)$).+", name))
        tumours = sum(
            int(value)
            for name, value in row.items()
            if re.fullmatch(r"support_.+", name) and name != "support_notumor"
        )
        score, low, high = (float(row[name]) for name in ("macro_f1", "macro_f1_low", "macro_f1_high"))
        if block and row["block"] != block:
            lines.append("| | | | | | | |")
        block = row["block"]
        last = row["rank_last"]
        rank = row["rank"] if last in ("", row["rank"]) else f"{row['rank']} to {last}"
        speed = f"{float(row['infer_images_per_s']):,.0f}"
        lines.append(
            f"| {rank} | `{row['backbone']}` | {kind} | {score:.3f} ({low:.3f} to {high:.3f}) "
            f"| {missed} of {tumours} | {speed} | {float(row['total_s']) / 60:.1f} |"
        )
    return "\n".join(lines)


def with_table(text: str, made: str) -> str:
    """Return a page with the table between its markers replaced."""
    return re.sub(
        r"<!-- board -->.*?<!-- /board -->", f"<!-- board -->\n{made}\n<!-- /board -->", text, flags=re.DOTALL
    )


def picture(page: Path, target: Path) -> None:
    """Take a picture of the top of a board's page."""
    from PIL import Image
    from playwright.sync_api import sync_playwright

    chromium = next(filter(None, map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))), None)
    with sync_playwright() as driver:
        browser = driver.chromium.launch(executable_path=chromium, args=["--no-sandbox", "--disable-gpu"])
        view = browser.new_page(viewport={"width": SIZE[0], "height": SIZE[1]}, color_scheme="light")
        view.goto(page.as_uri())
        view.wait_for_function("document.documentElement.dataset.ready === '1'")
        shot = view.screenshot()
        browser.close()
    Image.open(io.BytesIO(shot)).convert("RGB").quantize(COLOURS).save(target, optimize=True)


def corruptions(target: Path) -> None:
    """Draw a slice of the phantom as each corruption spoils it, the severities from left to right."""
    import numpy as np
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    from benchmark.data.options import DataOptions, open_data
    from benchmark.draws.corruptions import CORRUPTIONS, corrupt
    from benchmark.draws.randomness import image_numbers

    data = open_data(DataOptions("phantom", size=SLICE_SIZE))
    place = int(np.flatnonzero(data.labels == data.class_names.index("glioma"))[SLICE])
    image, name = data.pixels[place : place + 1], image_numbers(data.image_ids[place : place + 1])
    figure = Figure(figsize=(6.2, 7.2), layout="constrained")
    FigureCanvasAgg(figure)
    grid = figure.subplots(len(CORRUPTIONS), 6)
    for number, (line, (key, corruption)) in enumerate(zip(grid, CORRUPTIONS.items(), strict=True)):
        shown = [image, *(corrupt(image, name, key, severity) for severity in range(1, 6))]
        for severity, (axes, pixels) in enumerate(zip(line, shown, strict=True)):
            axes.imshow(pixels[0], interpolation="nearest")
            axes.set_xticks([])
            axes.set_yticks([])
            if number == 0:
                axes.set_title(f"severity {severity}" if severity else "as it is", fontsize=8)
        line[0].set_ylabel(corruption.title, fontsize=8)
    buffer = io.BytesIO()
    figure.savefig(buffer, format="png", dpi=100)
    from PIL import Image

    Image.open(buffer).convert("L").quantize(80).save(target, optimize=True)


def main() -> None:
    """Write all of it."""
    FIGURES.mkdir(exist_ok=True)
    picture(BOARD / "leaderboard.html", FIGURES / "board.png")
    corruptions(FIGURES / "corruptions.png")
    for name, copy in COPIED.items():
        shutil.copyfile(BOARD / name, FIGURES / copy)
    for page in PAGES:
        path = ROOT / page
        path.write_text(with_table(path.read_text(encoding="utf-8"), table(BOARD)), encoding="utf-8")


if __name__ == "__main__":
    main()
