"""A small file is complete or absent, as open as any new file, and never written through a link."""

import os
import stat
from pathlib import Path

import pytest

from benchmark import atomic_files
from benchmark.atomic_files import put_in_place, tidy_folder, write_atomically, written_file


def test_text_and_bytes_are_written(tmp_path: Path) -> None:
    assert write_atomically(tmp_path / "a.txt", "Tumör").read_bytes() == "Tumör".encode()
    assert write_atomically(tmp_path / "a.txt", b"\x00\r\n").read_bytes() == b"\x00\r\n"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


def test_what_fails_leaves_the_old_content_and_nothing_else(tmp_path: Path) -> None:
    target = write_atomically(tmp_path / "a.txt", "old")

    def interrupted() -> None:
        with written_file(target) as unfinished:
            unfinished.write_text("ne")
            assert target.read_text() == "old"
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        interrupted()
    assert target.read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a.txt"]


@pytest.mark.parametrize("mask", [0o022, 0o077, 0o002])
def test_the_file_has_the_permissions_of_any_new_file(tmp_path: Path, mask: int) -> None:
    before = os.umask(mask)
    try:
        (tmp_path / "usual").write_text("")
        write_atomically(tmp_path / "ours", "")
    finally:
        os.umask(before)
    assert stat.S_IMODE((tmp_path / "ours").stat().st_mode) == stat.S_IMODE((tmp_path / "usual").stat().st_mode)


def test_a_link_at_the_target_is_replaced_and_not_followed(tmp_path: Path) -> None:
    (tmp_path / "precious").write_text("keep me")
    (tmp_path / "link").symlink_to(tmp_path / "precious")
    write_atomically(tmp_path / "link", "new")
    assert (tmp_path / "precious").read_text() == "keep me"
    assert not (tmp_path / "link").is_symlink()
    assert (tmp_path / "link").read_text() == "new"


def test_it_is_on_the_disk_before_it_takes_its_place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    flushed: list[tuple[str, bool]] = []
    flush = atomic_files.flush

    def noted(path: Path) -> None:
        flush(path)
        flushed.append((path.name, (tmp_path / "a.txt").exists()))

    monkeypatch.setattr(atomic_files, "flush", noted)
    write_atomically(tmp_path / "a.txt", "content")
    (unfinished, before), (folder, after) = flushed
    assert unfinished.startswith(atomic_files.UNFINISHED)
    assert (before, folder, after) == (False, tmp_path.name, True)


def test_what_a_kill_left_of_writing_a_folder_is_tidied(tmp_path: Path) -> None:
    final = tmp_path / "model"
    for name in (".old-model-1", ".new-model-2", ".new-other-3"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "file").write_text(name)
    tidy_folder(final)  # killed between its two renames
    assert (final / "file").read_text() == ".old-model-1"
    (tmp_path / ".old-model-4").mkdir()
    tidy_folder(final)
    assert (final / "file").read_text() == ".old-model-1"
    assert sorted(path.name for path in tmp_path.iterdir()) == [".new-other-3", "model"]


def test_a_file_takes_the_place_of_a_file_at_once(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The old one is never renamed away, so that a kill at any moment leaves one of the two whole."""
    old, new = write_atomically(tmp_path / "model.onnx", "old"), write_atomically(tmp_path / "new", "new")

    def never(*_: object) -> None:
        raise AssertionError("renamed away")

    monkeypatch.setattr(Path, "rename", never)
    put_in_place(new, old)
    assert old.read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["model.onnx"]


def test_a_folder_whose_place_can_not_be_taken_leaves_the_old_one(tmp_path: Path) -> None:
    final = tmp_path / "savedmodel"
    final.mkdir()
    (final / "file").write_text("old")
    with pytest.raises(FileNotFoundError):
        put_in_place(tmp_path / "never written", final)
    assert (final / "file").read_text() == "old"
    new = tmp_path / "new"
    new.mkdir()
    (new / "file").write_text("new")
    put_in_place(new, final)
    assert (final / "file").read_text() == "new"
    assert [path.name for path in tmp_path.iterdir()] == ["savedmodel"]


def test_a_file_that_a_kill_left_aside_stands_again_only_where_there_is_none(tmp_path: Path) -> None:
    (tmp_path / ".old-model.pt-1").write_text("old")
    tidy_folder(tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_text() == "old"
    (tmp_path / ".old-model.pt-2").write_text("older")
    tidy_folder(tmp_path / "model.pt")
    assert (tmp_path / "model.pt").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["model.pt"]
