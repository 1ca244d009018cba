"""How large ``leaderboard.html`` is, and how long a browser takes to load it.

    python tests/performance/page_load.py [--rows 12] [--images 1311] [--repeats 7] [--keep DIR]
    python tests/performance/page_load.py --page results/boards/nickparvar-v1-128px/leaderboard.html

The board is of simulated runs, each image with a thumbnail of noise (which JPEG keeps larger than any scan), the half
of them with a heat map. Timed is headless Chromium, in a new page each time: until the table can be used, and until
the first plots are drawn once they are scrolled to.
"""

import argparse
import shutil
import statistics
import sys
import tempfile
import time
from dataclasses import replace
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).parents[1] / "reporting"))
from simulated import TWELVE, Reader, Study, explained
from test_page import images_of

from benchmark.records.store import RecordStore
from benchmark.reporting.figures.thumbnails import read_thumbnails, write_thumbnails
from benchmark.reporting.leaderboard import read_board
from benchmark.reporting.page.page import page


def readers(count: int) -> list[Reader]:
    """Return as many simulated backbones."""
    return [
        reader if turn == 0 else replace(reader, name=f"{reader.name}_{turn}")
        for turn in range(-(-count // len(TWELVE)))
        for reader in TWELVE
    ][:count]


def make_page(out: Path, rows: int, images: int) -> Path:
    """Write records, thumbnails and the page; print what it holds."""
    study = Study(patients=images, slices=1, grouped=False)
    for reader in readers(rows):
        record, predictions, cams = explained(study, reader, finds=True)
        kept = np.arange(len(cams.image_ids)) % 2 == 0
        some = {name: getattr(cams, name)[kept] for name in ("image_ids", "predicted", "scored", "maps", "masks")}
        RecordStore(out).write(record, predictions, replace(cams, **some))
    data = images_of(predictions, record.data.fingerprint)
    write_thumbnails(data, range(len(data)), out)
    start = time.perf_counter()
    board = read_board(out)
    scored = time.perf_counter()
    thumbnails = {record.data.fingerprint: read_thumbnails(out, record.data.fingerprint)}
    text = page(board, thumbnails)
    print(f"{rows} rows, {images} test images: read and scored in {scored - start:.1f} s, page made in "
          f"{time.perf_counter() - scored:.1f} s, {len(text.encode()) / 1e6:.1f} MB")  # fmt: skip
    path = out / "leaderboard.html"
    path.write_text(text, encoding="utf-8")
    return path


def time_loading(path: Path, repeats: int) -> None:
    """Print the medians of loading a page, with their ranges."""
    from playwright.sync_api import sync_playwright

    usable, drawn = [], []
    with sync_playwright() as driver:
        chromium = driver.chromium.launch(
            executable_path=shutil.which("chromium"), args=["--no-sandbox", "--disable-gpu"]
        )
        for _ in range(repeats + 1):
            view = chromium.new_page(viewport={"width": 1366, "height": 900})
            start = time.perf_counter()
            view.goto(path.as_uri())
            view.wait_for_function("document.documentElement.dataset.ready === '1'")
            usable.append(time.perf_counter() - start)
            view.locator(".plot").first.scroll_into_view_if_needed()
            view.wait_for_selector(".js-plotly-plot")
            drawn.append(time.perf_counter() - start)
            view.close()
        chromium.close()
    for what, seconds in (
        ("the table can be used", usable[1:]),
        ("the first plots are drawn", drawn[1:]),
    ):  # the first warms up
        print(f"{what} after {statistics.median(seconds):.2f} s ({min(seconds):.2f}-{max(seconds):.2f})")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--rows", type=int, default=12)
    parser.add_argument("--images", type=int, default=1311)
    parser.add_argument("--repeats", type=int, default=7)
    parser.add_argument("--keep", type=Path, metavar="DIR", help="Leave the page there.")
    parser.add_argument("--page", type=Path, metavar="FILE", help="Load this page, and make none.")
    options = parser.parse_args()
    if options.page:
        print(f"{options.page}: {options.page.stat().st_size / 1e6:.1f} MB")
        time_loading(options.page.resolve(), options.repeats)
        return
    with tempfile.TemporaryDirectory() as folder:
        out = options.keep or Path(folder)
        out.mkdir(parents=True, exist_ok=True)
        time_loading(make_page(out, options.rows, options.images), options.repeats)


if __name__ == "__main__":
    main()
