"""What a contributor meets: the starting file, the report, the pytest plug-in, plug-ins that can't be used."""

from pathlib import Path

import pytest

from tests.conformance.planted import PLANTED, SOUND
from tests.plugins.newcomer import examples, shell

TINY = examples()["torch/tiny"]


@pytest.mark.slow
@pytest.mark.parametrize("name", ["my-net", "keras/my_net"])
def test_the_starting_file_passes_the_check(tmp_path: Path, name: str) -> None:
    written = shell(tmp_path, "benchmark", "new", name)
    assert "python -m benchmark check my_net.py" in written.stdout, written.stderr
    checked = shell(tmp_path, "benchmark", "check", "my_net.py", "--report", "report.md")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert (tmp_path / "report.md").read_text() == checked.stdout
    again = shell(tmp_path, "benchmark", "new", name)
    assert again.returncode == 2
    assert "exists already" in again.stderr


@pytest.mark.parametrize("name", ["3x", "a/b", "timm:x", "../x", ""])
def test_a_name_that_can_not_be_is_refused(tmp_path: Path, name: str) -> None:
    refused = shell(tmp_path, "benchmark", "new", name)
    assert refused.returncode == 2
    assert "can't name a backbone" in refused.stderr
    assert list(tmp_path.iterdir()) == []


@pytest.mark.slow
def test_the_report_says_what_failed_and_what_to_do(tmp_path: Path) -> None:
    fault = next(planted for planted in PLANTED if planted.check == "gives_logits")
    (tmp_path / "faulty.py").write_text(fault.source)
    checked = shell(tmp_path, "benchmark", "check", "faulty.py", "--only", "gives_logits")
    assert checked.returncode == 1
    assert "| gives logits, not probabilities | FAILED |" in checked.stdout
    assert "**`own/faulty`: not gives logits.** its outputs are probabilities" in checked.stdout
    assert "remove the softmax" in checked.stdout


@pytest.mark.slow
def test_one_that_does_not_apply_or_lacks_something_is_skipped_with_its_reason(tmp_path: Path) -> None:
    declared = "input_size=64"
    asleep = TINY.replace(declared, f'{declared}, unsupported=lambda: "It wants three eyes."')
    lacking = TINY.replace(declared, f'{declared}, requires=("no_such_module",)').replace("torch/tiny", "torch/lacks")
    (tmp_path / "asleep.py").write_text(asleep)
    (tmp_path / "lacking.py").write_text(lacking)
    checked = shell(tmp_path, "benchmark", "check", "asleep.py", "lacking.py", "--only", "builds")
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "`torch/tiny`, builds: skipped, It wants three eyes." in checked.stdout
    assert "`torch/lacks`, builds: skipped, not installed: no_such_module" in checked.stdout


def test_a_file_that_fails_to_import_is_listed_with_its_reason_and_line(tmp_path: Path) -> None:
    (tmp_path / "broken.py").write_text("x = 1\nimport a_module_that_no_one_has\n")
    listed = shell(tmp_path, "benchmark", "list", "--plugin", "broken.py")
    assert listed.returncode == 0, listed.stderr
    assert "torch/baseline_cnn" in listed.stdout
    assert "Not usable: broken.py" in listed.stdout
    assert "No module named 'a_module_that_no_one_has' (line 2)" in listed.stdout


@pytest.mark.slow
def test_as_a_pytest_plug_in(tmp_path: Path) -> None:
    (tmp_path / "sound.py").write_text(SOUND.replace("own/faulty", "own/sound"))
    faulty = next(each for each in PLANTED if each.check == "gives_logits")
    (tmp_path / "faulty.py").write_text(faulty.source)
    words = ["--tumorboard-check", "sound.py", "--tumorboard-check", "faulty.py", "-v", "-p", "no:cacheprovider"]
    done = shell(tmp_path, "pytest", *words)
    assert done.returncode == 1, done.stdout + done.stderr
    assert (
        "own/sound: overfits_one_batch PASSED" in done.stdout or "own/sound::overfits_one_batch PASSED" in done.stdout
    )
    assert "own/faulty::gives_logits FAILED" in done.stdout
    assert "remove the softmax" in done.stdout
    assert "Traceback" not in done.stdout
