"""Files of weights that would cost everything, and networks that never answer: a sentence, soon and for little."""

import os
import socket
import struct
import tempfile
import threading
import time
import zipfile
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest

from backbones import MissingWeights
from backbones._keras import looked_through
from backbones._network import answers, without_network
from backbones._timm import check_hub, read_tensors
from backbones._weight_files import problem_with_file
from benchmark.errors import UserError
from benchmark.execution.planning.weights import check_policy
from benchmark.records.store import RecordStore
from tests.execution.commands import GOOD, Bench
from tests.watching import watched


@pytest.fixture(autouse=True)
def temporary_files_here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))


def keras_refusal(path: Path) -> str:
    with watched(path.parent, memory=2**28), pytest.raises(MissingWeights) as refused, looked_through(path):
        pass
    return str(refused.value)


def torch_refusal(path: Path) -> str:
    import torch  # noqa: F401 (its import is not what is measured)

    with watched(path.parent, memory=2**28), pytest.raises(MissingWeights) as refused:
        read_tensors(path)
    return str(refused.value)


def bomb(path: Path, gigabytes: float, compression: str | None = "gzip") -> Path:
    """Write an HDF5 file of kilobytes whose one array would take gigabytes."""
    import h5py

    with h5py.File(path, "w") as file:
        shape = (int(gigabytes * 2**28),)
        file.create_dataset("kernel", shape, "f4", chunks=(2**18,), compression=compression, fillvalue=0.0)
    return path


def test_a_keras_archive_whose_arrays_would_take_gigabytes(tmp_path: Path) -> None:
    inner = bomb(tmp_path / "inner", 9.3)
    path = tmp_path / "model.keras"
    with zipfile.ZipFile(path, "w") as archive:
        archive.write(inner, "model.weights.h5")
        archive.writestr("padding", os.urandom(8 * 2**20))
    inner.unlink()
    said = keras_refusal(path)
    assert said == (
        f"The weights in {path} are not read: its arrays would take 9,523 MiB of memory, and 96 MiB at most "
        "belong to a file of its size."
    )
    assert "batch" not in said


@pytest.mark.parametrize("name", ["weights.h5", "model.weights.h5"])
def test_an_hdf5_file_whose_arrays_would_take_gigabytes(name: str, tmp_path: Path) -> None:
    assert "are not read: its arrays would take 4,096 MiB of memory" in keras_refusal(bomb(tmp_path / name, 4))


def deflated_zeros(path: Path, member: str, size: int) -> Path:
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr(member, bytes(size))
    return path


@pytest.mark.parametrize(("name", "member"), [("model.keras", "model.weights.h5"), ("weights.pt", "archive/data/0")])
def test_an_archive_that_would_unpack_to_far_more(name: str, member: str, tmp_path: Path) -> None:
    path = deflated_zeros(tmp_path / name, member, 300 * 2**20)
    said = (keras_refusal if name.endswith(".keras") else torch_refusal)(path)
    assert said.startswith(f"The weights in {path} are not read: its arrays would take 300 MiB of memory")


def test_an_archive_that_unpacks_to_more_than_it_says(tmp_path: Path) -> None:
    path = deflated_zeros(tmp_path / "model.keras", "model.weights.h5", 300 * 2**20)
    data = bytearray(path.read_bytes())
    for place in (22, data.find(b"PK\x01\x02") + 24):  # the sizes that the member and its entry state
        data[place : place + 4] = struct.pack("<I", 100)
    path.write_bytes(data)
    assert "is not a file of Keras weights" in keras_refusal(path)


def test_one_number_that_stands_for_terabytes(tmp_path: Path) -> None:
    import torch

    path = tmp_path / "weights.pt"
    torch.save({"conv.weight": torch.zeros(1).expand(10**12)}, path)
    assert "are not read: its arrays would take 3,814,697 MiB of memory" in torch_refusal(path)


def test_texts_in_the_place_of_numbers(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.create_dataset("kernel", data=["a", "b"], dtype=h5py.string_dtype())
    assert "'kernel' holds no numbers" in keras_refusal(path)


def test_attributes_that_would_take_the_memory(tmp_path: Path) -> None:
    import h5py

    path = tmp_path / "weights.h5"
    with h5py.File(path, "w") as file:
        file.attrs.create("layer_names", data=["x" * 2**20] * 700, dtype=h5py.string_dtype())
    assert "memory" in keras_refusal(path)


@pytest.mark.parametrize("name", ["weights.pt", "weights.safetensors", "weights.h5", "model.keras"])
def test_what_is_no_file_of_weights_by_kind_or_size(name: str, tmp_path: Path) -> None:
    path = tmp_path / name
    path.touch()
    assert problem_with_file(path) == "it is empty"
    os.truncate(path, 2**41)
    assert problem_with_file(path) == "it has 2048 GiB; at most 64 GiB are read"
    os.truncate(path, 2**33)
    assert problem_with_file(path) == "most of it was never written (it is a sparse file)"
    refusal = keras_refusal if name.endswith((".h5", ".keras")) else torch_refusal
    assert refusal(path) == (
        f"The weights in {path} are not read: most of it was never written (it is a sparse file)."
    )
    with watched(tmp_path), pytest.raises(UserError) as refused:
        check_policy(str(path))
    assert str(refused.value) == (
        f"--weights {path} is not read: most of it was never written (it is a sparse file)."
    )
    path.unlink()
    os.mkfifo(path)
    assert problem_with_file(path) == "it is not a regular file"
    with pytest.raises(UserError, match="no such file"):
        check_policy(str(path))
    path.unlink()
    path.write_bytes(np.random.default_rng(0).bytes(100_000))
    assert problem_with_file(path) == ""


def test_a_device_of_the_kernel_is_not_waited_for() -> None:
    for path in ("/proc/kmsg", "/dev/zero", "/dev/stdin"):
        if Path(path).exists():
            with pytest.raises(UserError, match=r"is not read: it is empty|no such file|can't be read|not a regular"):
                check_policy(path)


# --- a network that never answers -----------------------------------------------------------------------------


class Server:
    """A server on this machine that takes connections, and says what it is told to, or nothing."""

    def __init__(self, says: bytes = b"", a_letter_each: float = 0.0) -> None:
        self._socket = socket.create_server(("127.0.0.1", 0))
        self.address = f"127.0.0.1:{self._socket.getsockname()[1]}"
        self._says, self._pause = says, a_letter_each
        self._open: list[socket.socket] = []
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            try:
                connection, _ = self._socket.accept()
            except OSError:
                return
            self._open.append(connection)
            threading.Thread(target=self._say, args=(connection,), daemon=True).start()

    def _say(self, connection: socket.socket) -> None:
        try:
            for letter in self._says:
                time.sleep(self._pause)
                connection.sendall(bytes([letter]))
        except OSError:
            return

    def close(self) -> None:
        for connection in (self._socket, *self._open):
            connection.close()


@pytest.fixture
def silent() -> Iterator[Server]:
    server = Server()
    yield server
    server.close()


def test_a_server_that_never_answers(silent: Server) -> None:
    start = time.monotonic()
    assert not answers(f"http://{silent.address}", 0.5)
    assert time.monotonic() - start < 5


def test_a_server_that_sends_a_letter_now_and_then() -> None:
    server = Server(b"HTTP/1.1 200 OK\r\n" + b"x-more: y\r\n" * 1000, a_letter_each=0.1)
    start = time.monotonic()
    assert not answers(f"http://{server.address}", 0.5)
    assert time.monotonic() - start < 5
    server.close()


def test_a_server_that_answers(monkeypatch: pytest.MonkeyPatch) -> None:
    for status in (b"200 OK", b"404 Not Found"):
        server = Server(b"HTTP/1.1 " + status + b"\r\nContent-Length: 0\r\n\r\n")
        assert answers(f"http://{server.address}", 5)
        monkeypatch.setenv("HF_ENDPOINT", f"http://{server.address}")
        check_hub("timm/resnet50")
        server.close()


def test_a_name_that_is_looked_up_for_ever(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(socket, "getaddrinfo", lambda *_, **__: time.sleep(60))
    start = time.monotonic()
    assert not answers("http://example.invalid", 0.5)
    assert time.monotonic() - start < 5


def test_without_network_every_name_fails_at_once() -> None:
    before = socket.getaddrinfo
    with without_network("the hub can't be reached"), pytest.raises(OSError, match="the hub can't be reached"):
        socket.create_connection(("example.invalid", 443))
    assert socket.getaddrinfo is before


@pytest.mark.slow
@pytest.mark.parametrize("name", ["timm/resnet50", "keras/resnet50", "keras_cv/resnet50"])
def test_imagenet_weights_from_servers_that_never_answer(
    name: str, silent: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The whole command, its row said within 30 seconds of the framework's import."""
    for variable in ("HTTPS_PROXY", "https_proxy", "HTTP_PROXY", "http_proxy"):
        monkeypatch.setenv(variable, f"http://{silent.address}")
    for variable in ("NO_PROXY", "no_proxy"):
        monkeypatch.delenv(variable, raising=False)
    for variable in ("HF_HUB_CACHE", "KERAS_HOME", "KAGGLEHUB_CACHE"):
        monkeypatch.setenv(variable, str(tmp_path / variable))
    bench = Bench.of(tmp_path, GOOD)
    done = bench.run("--backbone", name, "--weights", "imagenet", "--epochs", "1", "--size", "32")
    assert done.returncode == 1, done.stdout
    assert bench.rows()[name]["status"] == "missing_weights", done.stdout
    assert "can't be" in bench.rows()[name]["reason"]
    [(record, _)] = RecordStore(bench.out).read_all()
    assert record.timings.total_s - record.timings.import_s < 30
