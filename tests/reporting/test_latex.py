"""``leaderboard.tex``: what a paper takes in, whatever the names are."""

import shutil
import subprocess
from dataclasses import replace
from pathlib import Path

import pytest
from all_tables import write_tables
from simulated import FOUR, TWELVE, Study

from benchmark.reporting.leaderboard import read_board

NAMES = (
    r"\input{/etc/passwd} 100 % & $x_1^2$ #1 {a}",
    "<script>|~^`--\"'",
    "größe, naïve, 脳腫瘍, Ελλάδα",
    "a" * 90,
)
PAPER = r"""\documentclass{article}
\usepackage[T1]{fontenc}
\usepackage{textcomp,booktabs,xcolor,graphicx}
\begin{document}
\input{leaderboard}
\end{document}
"""


def compiled(folder: Path) -> str:
    """Return what pdfLaTeX's log says of a paper that takes in the tables; skips where it is not installed."""
    if shutil.which("pdflatex") is None:
        pytest.skip("pdflatex is not installed")
    (folder / "paper.tex").write_text(PAPER, encoding="utf-8")
    command = ["pdflatex", "-interaction=nonstopmode", "-halt-on-error", "-no-shell-escape", "paper.tex"]
    done = subprocess.run(command, cwd=folder, capture_output=True, timeout=120, check=False)
    log = done.stdout.decode("utf-8", errors="replace")
    assert done.returncode == 0, log[-2000:]
    assert (folder / "paper.pdf").stat().st_size > 10_000
    return log


def test_hostile_names_compile_and_fit_the_page(results, tmp_path: Path) -> None:
    runs = []
    study = Study(patients=24, slices=2, classes=("glioma", "menin|gi_oma & 5 %", "no#tumor", "pituitary"))
    study = replace(study, negative_class="no#tumor")
    for reader, name in zip(FOUR, NAMES, strict=True):
        record, predictions = study.run(reader)
        facts = record.backbone.model_copy(update={"name": name})
        runs.append((record.model_copy(update={"backbone": facts, "recipe_name": name}), predictions))
    out = results(runs)
    write_tables(read_board(out), out)
    log = compiled(out)
    assert "Overfull" not in log
    text = (out / "leaderboard.tex").read_text(encoding="utf-8")
    assert r"\textbackslash{}input\{/etc/passwd\}" in text
    assert r"\fbox{?}" in text


def test_published_results_stand_grey_in_a_table_of_their_own(results) -> None:
    study = Study(name="nickparvar-v1-224px", synthetic=False, grouped=False, patients=24, slices=2, split="official")
    out = results([study.run(reader) for reader in TWELVE[:3]])
    write_tables(read_board(out), out)
    tex, text = ((out / f"leaderboard.{kind}").read_text(encoding="utf-8") for kind in ("tex", "md"))
    assert r"\textcolor{gray}{https://github.com/saqlainovi/MRICovNetX} & \textcolor{gray}{ResNet50*}" in tex
    line = next(line for line in text.splitlines() if "resnet50, resnet50_schedule" in line)
    assert "*0.9657*" in line
    assert "| *9* |" in line  # meningiomas that the notebook's best called healthy
    assert "not known whether patients were kept apart" in line
    assert "Overfull" not in compiled(out)
