"""Fonts of the figures: the one that comes with matplotlib, then those of this machine that have further letters."""

from collections.abc import Iterable
from functools import lru_cache
from typing import Any

OWN = "DejaVu Sans"  # comes with matplotlib: the same picture on every machine, for the letters that it has
# For Chinese, Japanese, Korean and others; what a system has is asked in this order.
FURTHER = (
    *("Noto Sans CJK SC", "Noto Sans CJK JP", "Noto Sans CJK KR", "Noto Sans SC", "Noto Sans JP", "Noto Sans KR"),
    *("Source Han Sans SC", "WenQuanYi Micro Hei", "WenQuanYi Zen Hei", "Droid Sans Fallback", "IPAexGothic"),
    *("Microsoft YaHei", "SimHei", "Yu Gothic", "MS Gothic", "Malgun Gothic", "PingFang SC", "Hiragino Sans GB"),
    *("Apple SD Gothic Neo", "Arial Unicode MS", "Noto Sans Devanagari", "Noto Sans Arabic", "Noto Sans Thai"),
)


@lru_cache(maxsize=1)
def families() -> tuple[str, ...]:
    """Return the fonts by which matplotlib draws a letter: the first that has it."""
    from matplotlib import font_manager

    there = set(font_manager.fontManager.get_font_names())
    return (OWN, *(name for name in FURTHER if name in there))


@lru_cache(maxsize=1)
def _letters() -> frozenset[int]:
    """Return the code points that one of the fonts has."""
    from matplotlib import font_manager
    from matplotlib.ft2font import FT2Font

    letters: set[int] = set()
    for name in families():
        letters |= set(FT2Font(font_manager.findfont(name)).get_charmap())
    return frozenset(letters)


def drawable(text: str) -> str:
    """Return text with a code in place of each letter that no font has: ``U+80F6`` rather than an empty box."""
    if text.isascii():
        return text
    letters = _letters()
    return "".join(c if ord(c) in letters or c.isspace() else f"[{ord(c):X}]" for c in text)


def make_drawable(made: Any) -> None:
    """Replace, in every text of a figure, the letters that no font has."""
    from matplotlib.text import Text

    for axes in made.axes:
        for axis in (axes.xaxis, axes.yaxis):  # whose labels are made anew by each drawing
            labels = [label.get_text() for label in axis.get_ticklabels()]
            shown = [drawable(label) for label in labels]
            if shown != labels:
                ends = axis.get_view_interval()
                axis.set_ticks(axis.get_ticklocs(), shown)
                axis.set_view_interval(*ends, ignore=True)  # ticks beyond the ends would move them
    for text in made.findobj(Text):
        if not text.get_text().isascii():
            text.set_text(drawable(text.get_text()))


def letters_note(texts: Iterable[str]) -> tuple[str, ...]:
    """Say that the figures show some letters by their codes, where no font on this machine has them."""
    missing = sorted({c for text in texts if drawable(text) != text for c in text if drawable(c) != c})
    if not missing:
        return ()
    return (
        f"No font on this machine has {len(missing)} letters of the names ({''.join(missing[:8])}): figures show "
        f"their codes, such as {drawable(missing[0])}; with a font such as Noto Sans CJK they show the letters.",
    )
