"""Results of the checks, as people read them."""

from collections.abc import Sequence
from dataclasses import dataclass


@dataclass(frozen=True)
class CheckResult:
    """One check of one backbone.

    Args:
        backbone: name.
        check: name of the check.
        title: what holds when it passes.
        status: ``passed``, ``failed``, ``error`` (the check could not be carried out) or ``skipped``.
        detail: what was seen and what to do; when passed, what is good to know, or nothing.
        seconds: wall time.
    """

    backbone: str
    check: str
    title: str
    status: str
    detail: str = ""
    seconds: float = 0.0

    @property
    def good(self) -> bool:
        """Whether nothing has to be done."""
        return self.status in ("passed", "skipped")


_MARKS = {"passed": "ok", "failed": "FAILED", "error": "ERROR", "skipped": "skipped"}


def one_line(text: str) -> str:
    """Return ``text`` with all white space folded, safe in a Markdown table."""
    return " ".join(text.split()).replace("|", "\\|")


def as_markdown(results: Sequence[CheckResult]) -> str:
    """Return a report that can be pasted into a pull request: a table by backbone, then each failure in words."""
    backbones = list(dict.fromkeys(result.backbone for result in results))
    checks = list(dict.fromkeys((result.check, result.title) for result in results))
    by_place = {(result.backbone, result.check): result for result in results}
    lines = ["| check | " + " | ".join(f"`{name}`" for name in backbones) + " |", "|---" * (1 + len(backbones)) + "|"]
    for check, title in checks:
        cells = [by_place.get((name, check)) for name in backbones]
        lines.append(f"| {title} | " + " | ".join(_MARKS[r.status] if r else "" for r in cells) + " |")
    bad = [result for result in results if not result.good]
    for result in bad:
        lines += ["", f"**`{result.backbone}`: not {result.check.replace('_', ' ')}.** {one_line(result.detail)}"]
    skipped = [result for result in results if result.status == "skipped"]
    for result in skipped:
        lines += ["", f"`{result.backbone}`, {result.check.replace('_', ' ')}: skipped, {one_line(result.detail)}"]
    for result in results:
        if result.status == "passed" and result.detail:
            lines += ["", f"`{result.backbone}`: {one_line(result.detail)}."]
    passed = sum(result.status == "passed" for result in results)
    seconds = sum(result.seconds for result in results)
    lines += ["", f"{passed} of {len(results)} checks passed in {seconds:.0f} s; {len(bad)} to mend."]
    return "\n".join(lines)
