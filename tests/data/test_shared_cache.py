"""A cache that others may write to could change every score in silence: it is refused in a sentence."""

import os
from pathlib import Path

import pytest

from benchmark.data.preparation.prepare import load_prepared, open_dataset
from benchmark.errors import UserError
from benchmark.ownership import make_private, other_writers
from benchmark.training.feature_store import FeatureStore, NoRoom

pytestmark = pytest.mark.skipif(os.name != "posix", reason="modes and owners are POSIX's")
needs_root = pytest.mark.skipif(os.name == "posix" and os.geteuid() != 0, reason="only root can give files away")
NOBODY = 65534
ADVICE = (
    "and who writes there can change results: name a folder of your own in the environment variable "
    "TUMORBOARD_CACHE, or make it yours alone (chmod -R go-w)."
)


def prepared(source: Path, cache: Path) -> Path:
    """Prepare images in a cache; return their folder."""
    folder = open_dataset(str(source), size=16, cache=cache).folder
    assert folder is not None
    return folder


@pytest.mark.parametrize("place", ["cache", "data", "home", "pixels", "file", "index"])
def test_a_cache_that_every_user_may_write_to_is_refused(plain: Path, tmp_path: Path, place: str) -> None:
    cache = tmp_path / "cache"
    folder = prepared(plain, cache)
    path = {
        "cache": cache, "data": cache / "data", "home": folder.parent, "pixels": folder,
        "file": folder / "pixels.npy", "index": folder.parent / "index" / "arrays.npz",
    }[place]  # fmt: skip
    path.chmod(path.stat().st_mode | 0o002)
    with pytest.raises(UserError) as refused:
        open_dataset(str(plain), size=16, cache=cache)
    assert str(refused.value) == (
        f"The cache '{path}' is not used, because every user of this machine may write to it, {ADVICE}"
    )


@needs_root
def test_a_cache_of_another_user_is_refused(plain: Path, tmp_path: Path) -> None:
    cache = tmp_path / "cache"
    folder = prepared(plain, cache)
    os.chown(folder / "pixels.npy", NOBODY, NOBODY)
    with pytest.raises(UserError) as refused:
        load_prepared(folder)
    assert str(refused.value) == (
        f"The cache '{folder / 'pixels.npy'}' is not used, because it belongs to user 'nobody', {ADVICE}"
    )


def test_a_cache_is_private_whatever_the_umask(plain: Path, tmp_path: Path) -> None:
    before = os.umask(0)
    try:
        folder = prepared(plain, tmp_path / "new" / "cache")
    finally:
        os.umask(before)
    below = [path for path in (tmp_path / "new").rglob("*") if path.name != ".lock"]
    assert [path for path in below if other_writers(path)] == []
    assert len(load_prepared(folder)) > 0


def test_cached_features_that_others_may_change_are_not_used(tmp_path: Path) -> None:
    store = FeatureStore(tmp_path / "cache" / "prefixes", budget=10**6)
    with store.open({"a": 1}, count=4, shape=(2,), dtype="float32") as entry:
        rows = entry.folder / "rows.bin"
    rows.chmod(0o666)
    with pytest.raises(NoRoom, match=f"{rows} is not used, because every user of this machine may write to it"):
        store.open({"a": 1}, count=4, shape=(2,), dtype="float32")


def test_what_a_clause_says_of_a_folder(tmp_path: Path) -> None:
    make_private(tmp_path / "a" / "b")
    assert other_writers(tmp_path / "a") == ""
    assert other_writers(tmp_path / "not there") == ""
    (tmp_path / "a").chmod(0o1777)
    assert other_writers(tmp_path / "a") == "every user of this machine may add files to it"
