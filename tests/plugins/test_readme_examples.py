"""The backbones of the README and the documentation: about ten lines, and copied into a file they pass the check."""

from pathlib import Path

import pytest

from tests.plugins.newcomer import examples, shell

EXAMPLES = examples()


def test_there_is_one_for_each_kind_of_network_and_all_are_short() -> None:
    assert set(EXAMPLES) == {
        "torch/tiny",
        "torch/gated",
        "keras/tiny",
        "timm/resnet10t_drop_path",
        "keras/mobilenet_narrow",
    }
    assert max(len(text.strip().splitlines()) for text in EXAMPLES.values()) <= 20


@pytest.mark.slow
@pytest.mark.parametrize("name", EXAMPLES)
def test_copied_into_a_file_it_passes_the_check(tmp_path: Path, name: str) -> None:
    (tmp_path / "mine.py").write_text(EXAMPLES[name])
    checked = shell(tmp_path, "benchmark", "check", "mine.py")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert f"| check | `{name}` |" in checked.stdout
    assert checked.stdout.rstrip().endswith("; 0 to mend.")
