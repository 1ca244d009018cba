"""Data by name, fetched from a server that cuts, lies, recovers and goes away."""

import hashlib
import io
import json
import os
import subprocess
import sys
import zipfile

import numpy as np
import pytest
from click.testing import CliRunner
from PIL import Image

from benchmark.cli.data import data_command
from benchmark.data.options import DataOptions, open_data
from benchmark.data.preparation.prepare import open_dataset
from benchmark.data.sources import open_source, remote
from benchmark.data.sources.remote import cheng, doi
from benchmark.data.sources.remote.download import RemoteFile, fetch_files
from benchmark.data.sources.remote.kaggle import KaggleHandle
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from tests.data.server import Server
from tests.data.slices import patchy, write_cheng

CONTENT = bytes(range(256)) * 4000


@pytest.fixture(autouse=True)
def own_cache(tmp_path, monkeypatch):
    monkeypatch.setenv("TUMORBOARD_CACHE", str(tmp_path / "cache"))
    monkeypatch.setenv("KAGGLEHUB_CACHE", str(tmp_path / "kagglehub"))


@pytest.fixture
def server():
    started = Server()
    yield started
    started.close()


def good(server):
    server.content["/files/77"] = CONTENT
    return RemoteFile("slices.zip", f"{server.url}/files/77", len(CONTENT), f"sha256:{sha256(CONTENT)}")


def sha256(data):
    return hashlib.sha256(data).hexdigest()


def archive_of(folder, compression=zipfile.ZIP_DEFLATED):
    """Return a folder as the bytes of a zip file."""
    stream = io.BytesIO()
    with zipfile.ZipFile(stream, "w", compression) as archive:
        for path in sorted(path for path in folder.rglob("*") if path.is_file()):
            archive.write(path, path.relative_to(folder).as_posix())
    return stream.getvalue()


def test_a_download_is_verified_and_done_once(server, tmp_path):
    file = good(server)
    fetch_files(tmp_path, [file], "the page")
    assert (tmp_path / "slices.zip").read_bytes() == CONTENT
    fetch_files(tmp_path, [file], "the page")
    assert server.ranges == [None]


def test_a_download_that_was_cut_goes_on_where_it_stopped(server, tmp_path):
    file = good(server)
    server.cut = 300_000
    with pytest.raises(UserError, match=r"'slices\.zip' can't be fetched .* goes on where it stopped, or get"):
        fetch_files(tmp_path, [file], "the page")
    assert not list(tmp_path.rglob("slices.zip"))
    fetch_files(tmp_path, [file], "the page")
    assert (tmp_path / "slices.zip").read_bytes() == CONTENT
    kept = int(server.ranges[1].removeprefix("bytes=").rstrip("-"))
    assert 0 < kept <= 300_000


def test_a_wrong_hash_is_refused_and_fetched_anew(server, tmp_path):
    file = good(server)
    server.content["/files/77"] = CONTENT[:-1] + b"?"
    with pytest.raises(UserError, match=r"'slices\.zip' from .* has a wrong hash and was thrown away"):
        fetch_files(tmp_path, [file], "the page")
    assert not list(tmp_path.rglob("slices.zip"))
    server.content["/files/77"] = CONTENT
    fetch_files(tmp_path, [file], "the page")
    assert (tmp_path / "slices.zip").read_bytes() == CONTENT


def test_cheng_by_name(server, tmp_path, monkeypatch):
    folder = write_cheng(tmp_path / "slices")
    folds = (folder / "cvind.mat").read_bytes()
    (folder / "cvind.mat").unlink()
    content = {"brainTumorDataPublic_1-36.zip": archive_of(folder), "cvind.mat": folds}
    server.content = {f"/files/{name}": data for name, data in content.items()}
    files = tuple(
        RemoteFile(name, f"{server.url}/files/{name}", len(data), f"sha256:{sha256(data)}")
        for name, data in content.items()
    )
    monkeypatch.setattr(cheng, "cheng_files", lambda: files)
    assert not remote.KNOWN_SETS["cheng"].at_hand()
    server.cut = 2000
    with pytest.raises(UserError, match=r"get the files from https://doi\.org/10\.6084/.* put them into '.*cheng'"):
        open_source("cheng")
    data = open_data(DataOptions(source="cheng", size=16))
    server.close()
    assert remote.KNOWN_SETS["cheng"].at_hand()
    assert len(open_data(DataOptions(source="cheng", size=8))) == len(data) == 36
    assert data.name == "cheng-merged"
    assert data.licence == "CC BY 4.0"
    assert data.folds is not None
    assert any("figshare article 1512427" in note for note in data.notes)


def test_the_articles_files_are_known():
    files = cheng.cheng_files()
    assert [file.name for file in files if file.hash] == [
        f"brainTumorDataPublic_{part}.zip" for part in ("1-766", "767-1532", "1533-2298", "2299-3064")
    ]
    assert all(len(file.hash) == len("sha256:") + 64 for file in files if file.hash)
    assert [file.name for file in files if not file.hash] == ["cvind.mat"]


def figshare(server, content, **changes):
    server.content["/dl/1"] = content
    md5 = hashlib.md5(content).hexdigest()
    answer = {
        "version": 3,
        "title": "Slices",
        "license": {"name": "CC BY 4.0"},
        "citation": "Somebody (2024): Slices. figshare.",
        "files": [
            {"name": "images.zip", "download_url": f"{server.url}/dl/1", "size": len(content), "computed_md5": md5},
            {"name": "README.pdf", "download_url": f"{server.url}/dl/2", "size": 9, "computed_md5": "0" * 32},
        ],
    } | changes
    server.content["/articles/4242/versions/3"] = json.dumps(answer).encode()


def test_an_article_of_figshare_by_its_doi(server, kaggle, monkeypatch):
    name = "10.6084/m9.figshare.4242.v3"
    monkeypatch.setattr(doi, "FIGSHARE", server.url)
    figshare(server, archive_of(kaggle))
    server.cut = 20_000
    with pytest.raises(
        UserError, match=r"'images\.zip' can't be fetched .* get the files from https://doi\.org/10\.6084"
    ):
        open_source(f"doi:{name}")
    data = open_dataset(f"https://doi.org/{name}", size=8)
    assert len(server.ranges) == 2
    assert server.ranges[1] is not None
    server.close()
    assert (
        open_dataset(name, size=16).fingerprint == data.fingerprint == open_dataset(str(kaggle), size=8).fingerprint
    )
    assert data.name == "figshare-4242"
    assert data.licence == "CC BY 4.0"
    assert data.citation.startswith("Somebody (2024)")
    assert any("version 3" in note for note in data.notes)


def test_answers_of_figshare_that_can_not_be(server, kaggle, monkeypatch):
    monkeypatch.setattr(doi, "FIGSHARE", server.url)
    with pytest.raises(UserError, match=r"There is no figshare article 4242 \(http"):
        open_source("10.6084/m9.figshare.4242.v3")
    figshare(server, archive_of(kaggle), files=[{"name": "x.zip"}])
    with pytest.raises(UserError, match="figshare's answer on article 4242 can't be read"):
        open_source("10.6084/m9.figshare.4242.v3")
    bad = {"name": "..", "download_url": "x", "size": 1, "computed_md5": "0"}
    figshare(server, archive_of(kaggle), files=[bad])
    with pytest.raises(UserError, match=r"can't be read \(a file named"):
        open_source("10.6084/m9.figshare.4242.v3")
    with pytest.raises(UserError, match="is neither figshare's nor Zenodo's"):
        open_source("10.1371/journal.pone.0140381")
    server.close()
    with pytest.raises(UserError, match=r"can't be looked up .* by hand and give their folder with --data"):
        open_source("10.6084/m9.figshare.4242.v3")


def test_a_record_of_zenodo_by_its_doi(server, plain, monkeypatch):
    monkeypatch.setattr(doi, "ZENODO", server.url)
    content = archive_of(plain)
    server.content["/dl/1"] = content
    answer = {
        "id": 99,
        "metadata": {"title": "Heads", "license": {"id": "cc-by-4.0"}, "creators": [{"name": "Doe, J."}]},
        "files": [
            {
                "key": "heads.zip",
                "size": len(content),
                "checksum": f"md5:{hashlib.md5(content).hexdigest()}",
                "links": {"self": f"{server.url}/dl/1"},
            }
        ],
    }
    server.content["/records/99"] = json.dumps(answer).encode()
    data = open_dataset("10.5281/zenodo.99", size=8)
    assert data.name == "zenodo-99"
    assert data.licence == "cc-by-4.0"
    assert data.citation == "Doe, J.: Heads, Zenodo, doi:10.5281/zenodo.99"
    assert len(data) == 40


@pytest.fixture
def kaggle_server(server, monkeypatch):
    """Kaggle's interface, for kagglehub."""
    pytest.importorskip("kagglehub")
    kaggle_env = pytest.importorskip("kagglesdk.kaggle_env")
    monkeypatch.setitem(kaggle_env._env_to_endpoint, kaggle_env.KaggleEnv.PROD, server.url)
    monkeypatch.setenv("KAGGLE_USERNAME", "nobody")
    monkeypatch.setenv("KAGGLE_KEY", "nothing")
    service = "/v1/datasets.DatasetApiService"
    server.posts[f"{service}/DownloadDataset"] = lambda asked: f"/storage/{asked.get('datasetVersionNumber')}"
    server.posts[f"{service}/GetDataset"] = lambda asked: json.dumps({"currentVersionNumber": 7}).encode()
    return server


def test_a_data_set_of_kaggle(kaggle_server, kaggle):
    kaggle_server.content = {f"/storage/{version}": archive_of(kaggle) for version in (3, 7)}
    kaggle_server.cut = 1000
    with pytest.raises(
        UserError, match=r"goes on where it stopped, or get archive\.zip from https://www\.kaggle\.com/"
    ):
        open_source("kaggle:somebody/heads/3")
    data = open_dataset("kaggle:somebody/heads/3", size=8)
    assert kaggle_server.ranges[-1] is not None
    assert data.name == "heads-3"
    assert data.fingerprint == open_dataset(str(kaggle), size=8).fingerprint
    newest = open_dataset("kaggle:somebody/heads", size=8)
    assert any("the newest version is taken: pin it by kaggle:somebody/heads/7" in note for note in newest.notes)
    kaggle_server.close()
    assert open_dataset("kaggle:somebody/heads/3", size=16).fingerprint == data.fingerprint


def test_without_a_network_an_archive_by_hand_is_taken(kaggle_server, kaggle):
    kaggle_server.close()
    handle = KaggleHandle.parse("masoudnickparvar/brain-tumor-mri-dataset/1")
    with pytest.raises(UserError, match=r"get archive\.zip from https.* put it there as '(.*-1\.zip)'") as caught:
        open_source("nickparvar")
    assert "\n" not in str(caught.value)
    assert not remote.KNOWN_SETS["nickparvar"].at_hand()
    handle.by_hand.write_bytes(archive_of(kaggle))
    assert remote.KNOWN_SETS["nickparvar"].at_hand()
    data = open_dataset("nickparvar", size=8)
    assert data.name == "nickparvar"
    assert data.licence == "CC0 1.0"
    assert "Nickparvar" in data.citation
    assert any("48 images, and 7023 are known of this set" in note for note in data.notes)


def test_kagglehub_is_named_where_it_is_missing(monkeypatch):
    monkeypatch.setitem(sys.modules, "kagglehub", None)
    with pytest.raises(UserError, match=r"needs kagglehub: pip install 'tumorboard\[kaggle\]', or get archive\.zip"):
        open_source("kaggle:somebody/heads/3")
    for text in ("somebody", "a/b/c/d", "../x"):
        with pytest.raises(UserError, match="names no data set of Kaggle"):
            open_source(f"kaggle:{text}")


REVISION = "0123456789abcdef0123456789abcdef01234567"
OPEN = """
import sys
from benchmark.data.preparation.prepare import open_dataset
from benchmark.errors import UserError
try:
    data = open_dataset(sys.argv[1], size=16)
except UserError as error:
    sys.exit(str(error))
print(data.name, len(data), *data.class_names, data.licence, len(set(data.groups)))
print(None if data.parts is None else sorted(set(data.parts.tolist())), *data.notes, sep="|")
"""


def hugging_face(server, columns=("image", "label", "patient_id")):
    """Serve a data set of two Parquet files, as Hugging Face does."""
    pa = pytest.importorskip("pyarrow")
    parquet = pytest.importorskip("pyarrow.parquet")
    names = []
    for part, start in (("train", 0), ("test", 30)):
        pictures = []
        for k in range(12):
            stream = io.BytesIO()
            Image.fromarray(patchy(start + k)).save(stream, format="PNG")
            pictures.append({"bytes": stream.getvalue(), "path": None})
        label = [k % 2 for k in range(12)]
        patient = [f"{part}-{k // 2}" for k in range(12)]
        table = pa.table(dict(zip(columns, (pictures, label, patient), strict=True)))
        features = {columns[1]: {"_type": "ClassLabel", "names": ["Glioma", "No tumor"]}}
        table = table.replace_schema_metadata({b"huggingface": json.dumps({"info": {"features": features}}).encode()})
        stream = io.BytesIO()
        parquet.write_table(table, stream)
        names.append(f"data/{part}-00000-of-00001.parquet")
        server.content[f"/datasets/some/heads/resolve/{REVISION}/{names[-1]}"] = stream.getvalue()
    info = {"id": "some/heads", "sha": REVISION, "siblings": [{"rfilename": name} for name in names]}
    info["cardData"] = {"license": "cc-by-4.0"}
    for address in ("", f"/revision/{REVISION}"):
        server.content[f"/api/datasets/some/heads{address}"] = json.dumps(info).encode()
    server.headers = {"X-Repo-Commit": REVISION}


def opened(spec, server, tmp_path):
    env = {**os.environ, "HF_ENDPOINT": server.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    done = subprocess.run([sys.executable, "-c", OPEN, spec], env=env, capture_output=True, text=True, timeout=200)
    return done.returncode, done.stdout, done.stderr


def test_a_data_set_of_hugging_face(server, tmp_path):
    pytest.importorskip("huggingface_hub")
    hugging_face(server)
    code, out, err = opened("hf:some/heads", server, tmp_path)
    assert code == 0, err
    first, second = out.splitlines()
    assert first.startswith("heads 24 glioma notumor cc-by-4.0 12")
    assert second.startswith("['test', 'train']|")
    assert f"the newest revision is taken: pin it by hf:some/heads@{REVISION}" in second
    server.close()
    code, out, err = opened(f"hf:some/heads@{REVISION}", server, tmp_path)
    assert code == 0, err
    assert "pin it by" not in out
    code, _, err = opened("hf:some/heads", server, tmp_path)
    assert code == 1
    assert "'hf:some/heads' can't be fetched (" in err.splitlines()[-1]
    assert "by hand, with a manifest.csv" in err.splitlines()[-1]


def test_a_table_of_hugging_face_without_images(server, tmp_path):
    pytest.importorskip("huggingface_hub")
    hugging_face(server, ("image", "other", "third"))
    pa, parquet = pytest.importorskip("pyarrow"), pytest.importorskip("pyarrow.parquet")
    stream = io.BytesIO()
    parquet.write_table(pa.table({"text": ["a", "b"], "label": [0, 1]}), stream)
    for path in list(server.content):
        if path.endswith(".parquet"):
            server.content[path] = stream.getvalue()
    code, _, err = opened("hf:some/heads", server, tmp_path)
    assert code == 1
    assert "has no column of images; its columns are text, label" in err.splitlines()[-1]
    assert not list((tmp_path / "cache/downloads/hf").glob("*.zip"))


def test_known_sets_are_listed():
    result = CliRunner().invoke(data_command, ["--list"])
    assert result.exit_code == 0
    for line in (
        "phantom: 1200 images, 4 classes (glioma, meningioma, notumor, pituitary), 240 patients; at hand",
        "cheng: 3064 images, 3 classes (glioma, meningioma, pituitary), patients 233 ids, 209 persons; not at hand",
        "fault: its test gliomas are widely thought mislabelled",
        "fault: Br35H is the only source of notumor",
        "licence: CC BY 4.0",
    ):
        assert line in result.output
    with pytest.raises(UserError, match=r"Name the data"):
        CliRunner().invoke(data_command, [], standalone_mode=False, catch_exceptions=False)
    with pytest.raises(UserError, match=r"does not exist\. Did you mean 'nickparvar'\?"):
        open_source("nickparva")


def test_near_duplicates_of_external_test_data_without_patients_stay_together(tmp_path, draw, kaggle):
    """One side knows its patients: the other side's near-duplicates are kept together all the same."""
    folder = write_cheng(tmp_path / "cheng")
    for path in sorted(kaggle.rglob("Training/*/*.png")):
        if int(path.stem) < 6:
            brighter = np.asarray(Image.open(path)).astype(float) * 0.8
            Image.fromarray(brighter.astype(np.uint8)).save(path.with_name(f"again{path.stem}.png"))
    data = open_data(DataOptions(source=str(kaggle), size=24, test_data=str(folder)))
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.4))[0]
    parts = [set(data.image_ids[part]) for part in (split.train, split.validation)]
    again = [name for part in parts for name in part if "again" in name]
    assert len(again) == 18
    for name in again:
        assert any({name, name.replace("again", "")} <= part for part in parts)
