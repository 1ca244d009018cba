"""What the README and the documentation hold: code blocks, commands, and what takes their place in a test."""

import re
import shlex
from dataclasses import dataclass
from pathlib import Path

ROOT = Path(__file__).parents[2]
PAGES = ("README.md", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "docs").glob("*.md")))
# Languages of code blocks: commands, snippets that run, files that are read; and text, which shows something.
LANGUAGES = {"sh", "python", "toml", "text"}

# Commands that no test does, by how they begin, and why.
NOT_RUN = {
    "python -m benchmark --all --seed 0 1 2 --executor ray": "starts a cluster; tests/execution/test_ray.py does too",
    "pip install": "changes the environment; tox installs each extra",
    "docker": "needs Docker",
    "eval": "changes the shell; the script that it reads is tested apart",
    "_TUMORBOARD_COMPLETE=": "writes to the user's shell; the script is tested apart",
    "python -m benchmark data cheng": "downloads 880 MB",
    "python -m benchmark --all --data cheng": "downloads 880 MB",
    "python -m benchmark --backbone timm/tf_efficientnet_lite0 --data cheng nickparvar": "downloads 1 GB",
}
# What a command is given beside its own words where it trains: small, and without the network.
SMALL = "--limit 100 --epochs 1 --batch-size 8 --device cpu --cam none --weights local --seed 0"
# Words of the pages, and what takes their place. The files that remain are made by the test, under the pages' names.
INSTEAD = {
    "--all": "--backbone torch/baseline_cnn",  # one network for all
    "timm:convnext_tiny": "timm:test_convnext",
    "seed-notebook": "seed-notebook --entry flip",  # one of its experiments
    "--cam 200": "--cam 8",
    "--seed 0,1,2": "--seed 0,1",
    "'macro_f1>0.5'": "'macro_f1>0.1'",
}


@dataclass(frozen=True)
class Block:
    """A fenced code block.

    Args:
        page: relative to the repository.
        line: of its fence, from 1.
        language: after the fence, empty where there is none.
        text: without the indentation of the fence.
    """

    page: str
    line: int
    language: str
    text: str

    def __str__(self) -> str:
        return f"{self.page}:{self.line}"


def blocks() -> list[Block]:
    """Return the code blocks of all pages."""
    found = []
    for page in PAGES:
        text = (ROOT / page).read_text(encoding="utf-8")
        for match in re.finditer(r"^( *)```(\w*)\n(.*?)^\1```$", text, re.DOTALL | re.MULTILINE):
            inside = re.sub(rf"^{match[1]}", "", match[3], flags=re.MULTILINE)
            found.append(Block(page, text.count("\n", 0, match.start()) + 1, match[2], inside))
    return found


def commands() -> list[tuple[str, str]]:
    """Return (place, command) for each line of the blocks of commands, ``&&`` being two commands."""
    found = []
    for block in blocks():
        if block.language == "sh":
            for line in block.text.splitlines():
                found += [(str(block), part.strip()) for part in line.split("&&")]
    return found


def inline() -> list[tuple[str, str]]:
    """Return (page, command) for each command of the program in the running text."""
    found = []
    fenced = re.compile(r"^( *)```.*?^\1```$", re.DOTALL | re.MULTILINE)
    for page in PAGES:
        text = fenced.sub("", (ROOT / page).read_text(encoding="utf-8"))
        found += [(page, match[1]) for match in re.finditer(r"`(python -m benchmark [^`]+)`", text)]
    return found


def why_not_run(command: str) -> str | None:
    """Return why no test does a command, ``None`` where one does."""
    return next((reason for start, reason in NOT_RUN.items() if command.startswith(start)), None)


def is_training(command: str) -> bool:
    """Return whether a command trains networks: the verb ``run``, or bare options without a verb."""
    words = shlex.split(command)
    return words[:3] == ["python", "-m", "benchmark"] and (words[3] == "run" or words[3].startswith("--"))


def small(command: str) -> list[str]:
    """Return the words of a command, small enough for a test."""
    for word, other in INSTEAD.items():
        if word != "seed-notebook" or is_training(command):
            command = command.replace(word, other)
    words = shlex.split(command)
    if is_training(command):
        added = shlex.split(SMALL)
        for option, value in zip(added[::2], added[1::2], strict=True):
            if option not in words:
                words += [option, value]
        if "--size" not in words:
            words += ["--size", "32"]
    return words
