"""From what went wrong to an outcome and a sentence."""

import importlib.util
import signal
import sys

import pytest

from backbones import MissingWeights
from benchmark.engines.one_framework import assert_one_framework, shut_out_other_framework
from benchmark.records.outcomes import Outcome, RunFailure, outcome_of, outcome_of_exit, unreachable


class OutOfMemoryError(RuntimeError):
    """As torch names it."""


class ResourceExhaustedError(Exception):
    """As TensorFlow names it."""


@pytest.mark.parametrize(
    ("error", "outcome", "words"),
    [
        (RunFailure(Outcome.DIVERGED, "NaN in epoch 3."), Outcome.DIVERGED, "NaN in epoch 3."),
        (ValueError("bad\nsecond line"), Outcome.ERROR, "ValueError: bad"),
        (KeyError(), Outcome.ERROR, "KeyError, without a message"),
        (MemoryError(), Outcome.OOM, "--batch-size"),
        (OutOfMemoryError("CUDA out of memory. Tried to allocate 2 GiB"), Outcome.OOM, "CUDA out of memory"),
        (ResourceExhaustedError("OOM when allocating tensor"), Outcome.OOM, "OOM when allocating"),
        (RuntimeError("DefaultCPUAllocator: can't allocate memory"), Outcome.OOM, "--size"),
        (ModuleNotFoundError("No module named 'x'", name="x"), Outcome.MISSING_DEPENDENCY, "The module x"),
        (ImportError("libfoo.so: no such file"), Outcome.MISSING_DEPENDENCY, "libfoo.so"),
        (MissingWeights("gone"), Outcome.MISSING_WEIGHTS, "gone"),
        (OSError(28, "No space left on device"), Outcome.ERROR, "The disk is full"),
        (ValueError("I/O error: No space left on device (os error 28)"), Outcome.ERROR, "free some space"),
        (SystemExit(4), Outcome.CRASHED, "SystemExit: 4"),
        (ValueError("\x1b[31mred\x00"), Outcome.ERROR, "ValueError:  [31mred"),
    ],
)  # fmt: skip
def test_what_is_raised_has_an_outcome_and_one_line(error: BaseException, outcome: Outcome, words: str) -> None:
    found, reason = outcome_of(error)
    assert found is outcome
    assert words in reason
    assert reason.isprintable()


def test_a_long_message_is_cut() -> None:
    assert len(outcome_of(ValueError("x" * 10_000))[1]) < 400


@pytest.mark.parametrize(
    ("code", "oom_killed", "outcome", "words"),
    [
        (0, False, Outcome.CRASHED, "exit code 0"),
        (3, False, Outcome.CRASHED, "exit code 3"),
        (-signal.SIGSEGV, False, Outcome.CRASHED, "SIGSEGV"),
        (-signal.SIGKILL, False, Outcome.CRASHED, "likely for want of memory"),
        (-signal.SIGKILL, True, Outcome.OOM, "ran out of memory"),
        (-200, False, Outcome.CRASHED, "signal 200"),
    ],
)
def test_a_worker_without_a_word(code: int, oom_killed: bool, outcome: Outcome, words: str) -> None:
    found, reason = outcome_of_exit(code, oom_killed)
    assert found is outcome
    assert words in reason


def test_only_errors_of_the_network_are_the_networks() -> None:
    class Wrapped(Exception):
        pass

    fetch = Exception("URL fetch failure on https://storage.example: None -- Name or service not known")
    assert unreachable(fetch)
    with pytest.raises(Wrapped) as caught:
        raise Wrapped("can't load") from ConnectionRefusedError("refused")
    assert unreachable(caught.value)
    assert not unreachable(ValueError("shape mismatch"))


def test_the_other_framework_is_shut_out(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(sys.modules, "tensorflow", sys)
    with pytest.raises(RunFailure, match="import one only"):
        assert_one_framework("torch")
    monkeypatch.delitem(sys.modules, "tensorflow")
    monkeypatch.setattr(sys, "meta_path", list(sys.meta_path))
    shut_out_other_framework("torch")
    assert_one_framework("torch")
    assert importlib.util.find_spec("tensorflow") is None
    assert importlib.util.find_spec("torch") is not None
    with pytest.raises(ModuleNotFoundError) as caught:
        importlib.import_module("tensorflow")
    outcome, reason = outcome_of(caught.value, shut_out=("tensorflow",))
    assert outcome is Outcome.ERROR
    assert "imports tensorflow beside the other framework" in reason
