"""What reads works where POSIX's calls are missing, and what trains says so: as on Windows, which is imitated here.

Windows itself is not at hand. What the imitation takes away is what Windows lacks of what this program could call.
"""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.records.store import RecordStore
from tests.execution.samples import a_record, some_predictions

IMITATION = """
import contextlib, errno, fcntl, os, pathlib, signal, sys, types
# other libraries have their own ways on Windows: they are imported before
import click, filelock, h5py, matplotlib.pyplot, nibabel, numpy, pandas, PIL.Image, platformdirs, plotly, pooch
import psutil, pydantic, requests, rich.console, rich.progress, safetensors, scipy.stats, sklearn.model_selection
import subprocess, tempfile, multiprocessing, concurrent.futures, uuid, shutil, zipfile, contourpy, jinja2

real = types.ModuleType("os")
real.__dict__.update(os.__dict__)
pathlib.os = shutil.os = real  # the standard library has its own ways, too

def fsync(descriptor, fcntl=fcntl):
    if fcntl.fcntl(descriptor, fcntl.F_GETFL) & os.O_ACCMODE == os.O_RDONLY:
        raise OSError(errno.EBADF, "Bad file descriptor")

def opened(path, flags, *more, real=os.open, **named):
    assert not named, "Windows has no dir_fd"
    if os.path.isdir(path):
        raise PermissionError(errno.EACCES, "Permission denied", path)
    return real(path, flags, *more)

for name in ("fcntl", "grp", "pwd", "resource", "termios", "posix"):
    sys.modules[name] = None
for name in ("pwrite", "pread", "sched_getaffinity", "killpg", "getpgid", "setsid", "fork", "geteuid", "getuid",
             "getloadavg", "mkfifo", "statvfs", "posix_fallocate", "O_NOFOLLOW", "O_DIRECTORY", "O_NONBLOCK"):
    delattr(os, name)
for name in ("SIGKILL", "SIGUSR1", "SIGALRM", "SIGHUP"):
    delattr(signal, name)
filelock.FileLock = lambda *_, **__: contextlib.nullcontext()
os.fsync, os.open, os.supports_dir_fd = fsync, opened, set()
os.name, sys.platform = "nt", "win32"

from benchmark.cli.main import main
sys.exit(main(sys.argv[1:]))
"""


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    """A folder with images, and with a results folder."""
    generator = np.random.default_rng(0)
    for name in ("glioma", "notumor"):
        place = tmp_path / "images" / name
        place.mkdir(parents=True)
        for number in range(20):
            Image.fromarray(generator.integers(0, 255, (32, 32), dtype=np.uint8)).save(place / f"{number}.png")
    RecordStore(tmp_path / "out").write(a_record(), some_predictions())
    return tmp_path


def do(folder: Path, *words: str) -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        [sys.executable, "-c", IMITATION, *words],
        cwd=folder,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )


@pytest.mark.parametrize(
    ("words", "shown"),
    [
        (["list"], "keras/resnet50"),
        (["recipe", "quick"], "epochs"),
        (["leaderboard", "out"], "Leaderboard: "),
        (["leaderboard", "out", "--json"], '"torch/tiny"'),
        (["data", "images", "--size", "32"], "40 images, 2 classes"),
        (["data", "images", "--size", "32", "--audit", "--out", "audit"], "Written to audit"),
        (["new", "mine"], "Wrote mine.py"),
    ],
    ids=lambda words: " ".join(words) if isinstance(words, list) else "",
)
def test_what_reads_works(folder: Path, words: list[str], shown: str) -> None:
    done = do(folder, *words)
    assert done.returncode == 0, done.stdout + done.stderr
    assert shown in done.stdout
    if words[0] == "leaderboard":
        assert (folder / "out" / "leaderboard.html").is_file()


@pytest.mark.parametrize(
    "words",
    [
        ["--backbone", "torch/baseline_cnn", "--data", "images"],
        ["check", "torch/baseline_cnn"],
        ["parity", "timm/vgg16", "keras/vgg16"],
    ],
    ids=lambda words: words[0],
)
def test_what_trains_says_what_to_do(folder: Path, words: list[str]) -> None:
    done = do(folder, *words)
    assert done.returncode == 2, done.stdout + done.stderr
    assert done.stderr.count("\n") == 1
    assert "start this command in WSL" in done.stderr
