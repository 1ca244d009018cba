"""A process of ours is started, talked with and ended in one way."""

import subprocess
import sys
import time
from pathlib import Path

import pytest

from benchmark.child_process import end, message, run, start

MODULE = """
import os, sys
from benchmark.child_process import messages, send, take_standard_streams

requests, answers = take_standard_streams()
print("a library's print")
os.system("echo printed by a program")
for request in messages(requests):
    send(answers, {"read": request, "standard input": sys.stdin.read(), "path": sys.path})
sys.exit(len(sys.argv))
"""


@pytest.fixture
def module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """A module that this process finds, and that stands beside a file named as our package."""
    (tmp_path / "here").mkdir()
    (tmp_path / "here" / "a_child.py").write_text(MODULE)
    (tmp_path / "there").mkdir()
    (tmp_path / "there" / "benchmark.py").write_text("raise RuntimeError\n")
    monkeypatch.syspath_prepend(tmp_path / "here")
    monkeypatch.chdir(tmp_path / "there")
    return "a_child"


def test_it_answers_whatever_its_libraries_print_and_searches_where_we_do(module: str) -> None:
    process = start(module, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE)
    written, errors = process.communicate(b'{"a": 1}\nnoise\n[2]\n', timeout=60)
    (line,) = written.splitlines()
    answer = message(line)
    assert answer is not None
    assert answer["read"] == {"a": 1}
    assert answer["standard input"] == ""
    ours = list(dict.fromkeys(str(Path(place).absolute()) for place in sys.path))
    assert answer["path"][: len(ours)] == ours
    assert b"a library's print" in errors
    assert b"printed by a program" in errors


def test_run_gives_its_code_its_messages_and_its_errors(module: str) -> None:
    code, answers, errors = run(module, "one", "two")
    assert (code, answers) == (3, [])
    assert "a library's print" in errors


def test_one_that_takes_too_long_is_ended(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "sleeper.py").write_text("import time; time.sleep(600)")
    monkeypatch.syspath_prepend(tmp_path)
    before = time.monotonic()
    with pytest.raises(subprocess.TimeoutExpired):
        run("sleeper", timeout=0.5)
    process = start("sleeper", stdin=subprocess.PIPE, stdout=subprocess.PIPE)
    assert end(process) < 0
    assert process.stdin is not None
    assert process.stdin.closed
    assert time.monotonic() - before < 60


@pytest.mark.parametrize("line", [b"", b"text", b"[1]", b"3", b"\xff", b"[" * 100_000])
def test_what_is_no_message_is_none(line: bytes) -> None:
    assert message(line) is None
