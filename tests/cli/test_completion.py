"""A shell asks the installed command for its completions."""

import os
import subprocess
import sys

import pytest


def asked(instruction: str, **variables: str) -> subprocess.CompletedProcess[str]:
    """Ask as a shell does: by an environment variable."""
    return subprocess.run(
        [sys.executable, "-m", "benchmark"],
        env={**os.environ, "_TUMORBOARD_COMPLETE": instruction, **variables},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize("shell", ["bash", "zsh", "fish"])
def test_a_shell_gets_its_script(shell: str) -> None:
    done = asked(f"{shell}_source")
    assert done.returncode == 0, done.stderr
    assert f"_TUMORBOARD_COMPLETE={shell}_complete" in done.stdout
    assert " tumorboard" in done.stdout
    assert "Usage" not in done.stdout


@pytest.mark.parametrize(
    ("typed", "place", "offers"),
    [
        ("tumorboard lea", 1, "plain,leaderboard"),
        ("tumorboard --keep", 1, "plain,--keep-models"),
        ("tumorboard --checkp", 1, "plain,--checkpoint-every"),
        ("tumorboard ru", 1, "plain,run"),
        ("tumorboard run --checkp", 2, "plain,--checkpoint-every"),
        ("tumorboard --backbone timm/resn", 2, "plain,timm/resnet50"),
        ("tumorboard --recipe qu", 2, "plain,quick"),
        ("tumorboard --recipe my-", 2, "file,my-"),
        ("tumorboard run --suite seed", 3, "plain,seed-notebook"),
        ("tumorboard --device c", 2, "plain,cuda"),
        ("tumorboard leaderboard --so", 2, "plain,--sort"),
        ("tumorboard unheard --so", 2, ""),
    ],
)
def test_words_are_completed(typed: str, place: int, offers: str) -> None:
    done = asked("bash_complete", COMP_WORDS=typed, COMP_CWORD=str(place))
    assert offers in done.stdout.splitlines() or (done.stdout == "" == offers), done.stdout + done.stderr
    assert done.stderr == ""
