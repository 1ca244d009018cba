"""Backbones that do their worst: each becomes its row, the others complete, nothing is left running."""

import subprocess
from pathlib import Path

import pytest

from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, Bench, gone

pytestmark = pytest.mark.xdist_group("hostile")  # one command over all of them takes minutes
HOSTILE = (
    GOOD
    + """
@backbone("test/raises", framework="torch", input_size=16)
def raises(num_classes):
    raise ValueError("no luck today\\nand more lines")


@backbone("test/nan", framework="torch", input_size=16)
def nan(num_classes):
    from torch import nn
    class ToNaN(nn.Module):
        def forward(self, x):
            return x * float("nan")
    return nn.Sequential(*tiny(num_classes), ToNaN())


@backbone("test/allocates", framework="torch", input_size=16)
def allocates(num_classes):
    # a small machine: a gigabyte more than is in use
    used = int(pathlib.Path("/proc/self/statm").read_text().split()[0]) * resource.getpagesize()
    resource.setrlimit(resource.RLIMIT_AS, (used + 2**30, used + 2**30))
    kept = []
    while True:
        kept.append(bytearray(2**26))


@backbone("test/sleeps", framework="torch", input_size=16)
def sleeps(num_classes):
    time.sleep(3600)


@backbone("test/exits", framework="torch", input_size=16)
def exits(num_classes):
    os._exit(3)


@backbone("test/sys_exits", framework="torch", input_size=16)
def sys_exits(num_classes):
    sys.exit(0)


@backbone("test/segfaults", framework="torch", input_size=16)
def segfaults(num_classes):
    print("about to fall", flush=True)
    ctypes.string_at(0)


@backbone("test/is_killed", framework="torch", input_size=16)
def is_killed(num_classes):
    os.kill(os.getpid(), signal.SIGKILL)


@backbone("test/prints", framework="torch", input_size=16)
def prints(num_classes):
    print('{"event": "stored"}')
    print('{"event": "epoch", "epoch": "many"}', flush=True)
    os.write(1, bytes(range(256)) * 64)
    subprocess.run(["echo", "garbage"])
    return tiny(num_classes)


@backbone("test/leaves_children", framework="torch", input_size=16)
def leaves_children(num_classes):
    child = subprocess.Popen(["sleep", "600"])
    daemon = subprocess.Popen(["sh", "-c", "setsid sleep 601 >/dev/null 2>&1 & echo $!"], stdout=subprocess.PIPE)
    (HERE / "children").write_text(f"{child.pid} {int(daemon.stdout.readline())}")
    # one that forgets where it comes from: no parent, no session, no environment
    nameless = subprocess.Popen(
        ["env", "-i", "/bin/sh", "-c", "/usr/bin/setsid /bin/sleep 602 >/dev/null 2>&1 & echo $!"],
        stdout=subprocess.PIPE,
    )
    with (HERE / "children").open("a") as stream:
        stream.write(f" {int(nameless.stdout.readline())}")
    return tiny(num_classes)


@backbone("test/prints_for_ever", framework="torch", input_size=16)
def prints_for_ever(num_classes):
    print("this is how it began", flush=True)
    for _ in range(640):
        os.write(2, b"garbage " * 2**13)
    time.sleep(0.5)
    print("this is how it ended", flush=True)
    raise ValueError("hoarse")


@backbone("test/wrong_shape", framework="torch", input_size=16)
def wrong_shape(num_classes):
    return tiny(num_classes + 3)


@backbone("test/needs_module", framework="torch", input_size=16)
def needs_module(num_classes):
    import no_such_module


@backbone("test/requires_module", framework="torch", input_size=16, requires=("no_such_module",))
def requires_module(num_classes):
    raise AssertionError("not reached")


@backbone("test/unsupported", framework="torch", input_size=16, unsupported=lambda: "It wants three eyes.")
def unsupported(num_classes):
    raise AssertionError("not reached")


@backbone("test/no_weights", framework="torch", input_size=16, imagenet="nowhere/weights")
def no_weights(num_classes, weights):
    if weights == "imagenet":
        raise MissingWeights("nowhere/weights can't be fetched.")
    return tiny(num_classes)


@backbone("test/markup", framework="torch", input_size=16, note="<script>alert(1)</script> | [red]")
def markup(num_classes):
    raise RuntimeError("<script>alert(1)</script> | [red]\\x1b[31mred")
"""
)

EXPECTED = {
    "test/good": ("ok", ""),
    "test/raises": ("error", "ValueError: no luck today"),
    "test/nan": ("diverged", "try a lower learning rate"),
    "test/allocates": ("oom", "use a smaller --batch-size or --size"),
    "test/exits": ("crashed", "The worker left without a word (exit code 3)."),
    "test/sys_exits": ("crashed", "The backbone's code ended the process (SystemExit: 0)."),
    "test/segfaults": ("crashed", "The worker was ended by SIGSEGV; see its log."),
    "test/is_killed": ("crashed", "likely for want of memory"),
    "test/prints": ("ok", ""),
    "test/leaves_children": ("ok", ""),
    "test/prints_for_ever": ("error", "ValueError: hoarse"),
    "test/wrong_shape": ("error", "shape"),
    "test/needs_module": ("missing_dependency", "The module no_such_module is not installed"),
    "test/requires_module": ("missing_dependency", "Not installed: no_such_module"),
    "test/unsupported": ("unsupported", "It wants three eyes."),
    "test/no_weights": ("missing_weights", "nowhere/weights can't be fetched"),
    "test/markup": ("error", "RuntimeError"),
}

Done = tuple[Bench, subprocess.CompletedProcess[str]]


@pytest.fixture(scope="module")
def bench(tmp_path_factory: pytest.TempPathFactory) -> Bench:
    return Bench.of(tmp_path_factory.mktemp("hostile"), HOSTILE, drawn=True)


@pytest.fixture(scope="module")
def done(bench: Bench) -> Done:
    """One command over all of them."""
    return bench, bench.run("--epochs", "1", "--backbone", *EXPECTED)


@pytest.mark.slow
@pytest.mark.parametrize("name", EXPECTED)
def test_each_becomes_its_row(done: Done, name: str) -> None:
    bench, command = done
    outcome, reason = EXPECTED[name]
    row = bench.rows()[name]
    assert row["status"] == outcome, command.stdout
    assert reason in row["reason"]
    assert "\n" not in row["reason"]
    if outcome != "ok":
        assert row["macro_f1"] == ""


@pytest.mark.slow
def test_the_command_says_so_and_exits_with_1(done: Done) -> None:
    _, command = done
    assert command.returncode == 1, command.stderr
    assert command.stderr == ""
    assert "test/segfaults, seed 0: crashed: The worker was ended by SIGSEGV" in command.stdout
    assert "\x1b[31m" not in command.stdout


@pytest.mark.slow
def test_the_last_lines_of_the_log_are_kept_with_the_row(done: Done) -> None:
    bench, _ = done
    records = {record.backbone.name: record for record, _ in RecordStore(bench.out).read_all()}
    assert "about to fall" in records["test/segfaults"].provenance["log_tail"]
    board = (bench.out / "leaderboard.md").read_text()
    for shown in (done[1].stdout, board):
        assert "about to fall" in shown
        assert "try it alone" in shown
    assert any("ValueError: no luck today" in line for line in records["test/raises"].provenance["log_tail"])
    assert records["test/good"].timings.total_s > records["test/good"].timings.import_s > 0


@pytest.mark.slow
def test_nothing_is_left_running(done: Done) -> None:
    bench, _ = done
    pids = [int(word) for word in (bench.plugin.parent / "children").read_text().split()]
    assert len(pids) == 3
    assert gone(pids)


@pytest.mark.slow
def test_a_log_is_bounded_and_keeps_its_beginning_and_its_end(done: Done) -> None:
    bench, _ = done
    [log] = (bench.out / "internal/logs").glob("test-prints_for_ever-*")
    text = log.read_text()
    assert log.stat().st_size < 17 * 2**20  # of 40 MiB that were printed
    assert "this is how it began" in text[:10_000]
    assert "bytes are left out here" in text
    assert text.index("this is how it ended") < text.index("ValueError: hoarse")


@pytest.mark.slow
def test_the_same_command_again_keeps_what_is_ok_and_tries_the_rest(done: Done) -> None:
    bench, _ = done
    again = bench.run("--epochs", "1", "--backbone", "test/good", "test/prints", "test/exits")
    assert again.returncode == 1
    assert "test/good, seed 0: kept, ok" in again.stdout
    assert "test/prints, seed 0: kept, ok" in again.stdout
    assert "Run 3 of 3: test/exits" in again.stdout
    assert "Run 1 of 3" not in again.stdout


@pytest.mark.slow
def test_with_allow_scratch_missing_weights_are_done_without_and_marked(done: Done) -> None:
    bench, _ = done
    allowed = bench.run("--epochs", "1", "--backbone", "test/no_weights", "--allow-scratch")
    assert allowed.returncode == 0, allowed.stdout
    row = bench.rows()["test/no_weights"]
    assert row["status"] == "ok"
    assert row["fell_back"] == "True"
    assert row["rank"] == ""
    strict = bench.run("--epochs", "1", "--backbone", "test/no_weights")
    assert "kept" not in strict.stdout
    assert strict.returncode == 1


@pytest.mark.slow
def test_a_run_that_sleeps_for_ever_is_ended_in_time(bench: Bench) -> None:
    slept = bench.run("--epochs", "1", "--backbone", "test/sleeps", "--timeout", "8")
    assert slept.returncode == 1
    row = bench.rows()["test/sleeps"]
    assert row["status"] == "timeout"
    assert "longer than 8 s (--timeout)" in row["reason"]


def test_a_plugin_may_declare_all_of_this_and_be_listed(bench: Bench) -> None:
    import sys

    words = [sys.executable, "-m", "benchmark", "list", "--plugin", str(bench.plugin)]
    listed = subprocess.run(words, capture_output=True, text=True, check=True, cwd=Path(__file__).parents[2])
    assert set(EXPECTED) <= set(listed.stdout.split())
