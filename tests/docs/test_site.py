"""The site as it is built: its links lead somewhere, and it asks nothing of other sites.

tox builds it, without a warning, and names the folder in ``TUMORBOARD_SITE``; elsewhere this is skipped.
"""

import os
from html.parser import HTMLParser
from pathlib import Path
from urllib.parse import unquote, urlsplit

import pytest

SITE = os.environ.get("TUMORBOARD_SITE")
pytestmark = pytest.mark.skipif(SITE is None, reason="TUMORBOARD_SITE does not name the built site: tox does")


class Page(HTMLParser):
    """The links, the loaded files and the anchors of a page."""

    def __init__(self, path: Path) -> None:
        super().__init__()
        self.links: list[str] = []
        self.loaded: list[str] = []
        self.anchors: set[str] = {""}
        self.feed(path.read_text(encoding="utf-8"))

    def handle_starttag(self, tag: str, attrs: list[tuple[str, str | None]]) -> None:
        """Note what one tag names."""
        values = {name: value or "" for name, value in attrs}
        self.anchors |= {values[name] for name in ("id", "name") if name in values}
        if tag == "a" and "href" in values:
            self.links.append(values["href"])
        elif tag in ("script", "img") and "src" in values:
            self.loaded.append(values["src"])
        elif tag == "link" and values.get("rel") != "canonical" and "href" in values:
            self.loaded.append(values["href"])


@pytest.fixture(scope="module")
def pages() -> dict[Path, Page]:
    assert SITE is not None
    found = {path: Page(path) for path in sorted(Path(SITE).resolve().rglob("*.html")) if path.name != "404.html"}
    assert len(found) > 15
    return found


def _target(path: Path, link: str) -> Path:
    """Return the file to which a relative link leads."""
    address = unquote(urlsplit(link).path)
    target = (path.parent / address).resolve() if address else path
    return target / "index.html" if target.is_dir() else target


def test_every_link_and_every_anchor(pages: dict[Path, Page]) -> None:
    broken = []
    for path, page in pages.items():
        for link in (*page.links, *page.loaded):
            parts = urlsplit(link)
            if parts.scheme or parts.netloc:
                continue
            target = _target(path, link)
            if not target.is_file() or (target in pages and unquote(parts.fragment) not in pages[target].anchors):
                broken.append(f"{path.parent.name}: {link}")
    assert broken == []


def test_nothing_is_loaded_from_another_site(pages: dict[Path, Page]) -> None:
    foreign = {link for page in pages.values() for link in page.loaded if urlsplit(link).netloc}
    assert foreign == set()


def test_the_reference_holds_what_it_names(pages: dict[Path, Page]) -> None:
    (reference,) = (page for path, page in pages.items() if path.parent.name == "api")
    named = {"benchmark.load_results", "backbones.registry.Backbone", "benchmark.recipe.recipe.Recipe"}
    assert named <= reference.anchors
