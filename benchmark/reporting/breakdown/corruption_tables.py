"""Spoilt images for people, as a table of Markdown and of the page."""

import numpy as np

from benchmark.draws.corruptions import MOST_CELLS, SEVERITIES
from benchmark.evaluation.bootstrap import Estimate
from benchmark.evaluation.intervals import in_brackets
from benchmark.reporting.breakdown.corruptions import Robustness
from benchmark.reporting.breakdown.part import Part, PartTable

TITLE = "What spoilt images cost: macro-F1 by corruption"
_READING = (
    "Test images are spoilt as an MR scanner may spoil them, by TorchIO's definitions, at five severities: "
    "plausible up to 3, hard at 5. {pixels} {shown}A column is the mean macro-F1 over the severities; in brackets "
    "95 % intervals for other patients. Error is the mean share of wrong answers over corruptions and severities. "
    "mCE is the mean over corruptions of the row's errors over those of the reference row, {reference}; relative "
    "mCE counts only the errors that a corruption adds (Hendrycks & Dietterich 2019; below 1 is better). A row that "
    "already makes many errors may gain few. The pixels change, not the patients or scanners: this is no test on "
    "another hospital's images."
)
_SAME = "Every row saw the same pixels."
_DIFFERENT = (
    "Rows did not see the same pixels, as they read images at different sizes: the same severity of noise, blur and "
    "resolution is not the same for them."
)
_PART = "Each image was shown {most} of the {all} pictures, chosen by its id, the same for each row. "


def robustness_part(robustness: Robustness) -> Part:
    """Return what is said of a comparison group's spoilt images."""
    head = ["row", "as they are", *robustness.titles, "error", "mCE", "relative mCE"]
    lines = []
    for row, name, scores, against in zip(
        robustness.rows, robustness.names, robustness.scores, robustness.beside, strict=True
    ):
        ends = against.interval
        interval = (
            ""
            if ends is None or robustness.rows[robustness.reference] is row
            else f" ({ends.low:.2f}-{ends.high:.2f})"
        )
        lines.append(
            [
                name,
                f"{row.macro_f1:.3f}",
                *(_cell(each) for each in scores.macro_f1_estimates),
                _cell(scores.mean_error),
                _ratio(against.mean) + interval,
                _ratio(against.relative_mean),
            ]
        )
    return Part(TITLE, reading(robustness), (PartTable(head, lines, (head[0],), TITLE),))


def spoilt_images(robustness: Robustness | None) -> str:
    """Return in sentences what spoilt images cost each row of a comparison group, or that none were tried."""
    if robustness is None:
        return "No corruption of the images was tried."
    costs = []
    for row, name, scores in zip(robustness.rows, robustness.names, robustness.scores, strict=True):
        worst = int(np.argmin([each.value for each in scores.macro_f1_estimates]))
        ends = scores.mean_macro_f1.interval()
        interval = "" if ends is None else f" (95 % interval {ends.low:.3f} to {ends.high:.3f})"
        costs.append(
            f"{name} from {row.macro_f1:.3f} to {scores.mean_macro_f1.value:.3f}{interval}, worst under "
            f"{robustness.titles[worst]} ({scores.macro_f1_estimates[worst].value:.3f})"
        )
    return (
        f"Test images were spoilt by simulation ({', '.join(robustness.titles)}; TorchIO's definitions, five "
        f"severities). Mean macro-F1 goes {'; '.join(costs)}. Details in corruptions.csv."
    )


def reading(robustness: Robustness) -> str:
    """Return how the table is read, and which rows are not in it."""
    pixels = _SAME if robustness.same_pixels else _DIFFERENT
    part = _PART.format(most=MOST_CELLS, all=SEVERITIES * len(robustness.corruptions))
    text = _READING.format(
        pixels=pixels, shown="" if robustness.whole else part, reference=robustness.names[robustness.reference]
    )
    return text + (f" Not asked about these images: {', '.join(robustness.others)}." if robustness.others else "")


def _cell(estimate: Estimate) -> str:
    return f"{estimate.value:.3f}{in_brackets(estimate.interval())}"


def _ratio(value: float) -> str:
    return "" if value != value else f"{value:.2f}"
