"""What is published of a board, or of a model: all that makes it again, and nothing of whose images they are."""

import base64
import csv
import io
import json
import os
import re
import subprocess
import sys
import zipfile
from dataclasses import replace
from functools import partial
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from benchmark.cli.main import main
from benchmark.data.audit.audit import audit_data
from benchmark.data.audit.shortcut_probe import ReferencePredictions
from benchmark.data.duplicates.groups import Pair
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from benchmark.evaluation.bootstrap import Bootstrap
from benchmark.hashing import hash_file
from benchmark.models.description import Export, Model
from benchmark.publishing.board import Contents
from benchmark.publishing.pseudonyms import Pseudonyms, without_paths
from benchmark.publishing.publication import publish_to_folder
from benchmark.records.outcomes import Outcome
from benchmark.records.store import RecordStore
from benchmark.reporting.figures.thumbnails import pack_thumbnails
from benchmark.reporting.leaderboard import read_board
from tests.data.test_splits import cohort
from tests.execution.samples import a_record, some_predictions
from tests.models.described import a_model
from tests.publishing.hub import Hub
from tests.reporting.simulated import TWELVE, Study, explained

PATIENT, HOST = "doe-jane-1961", "host-of-the-clinic"
COMMAND = f"python -m benchmark --data /home/{PATIENT}/archive.zip"


@pytest.fixture(scope="module", autouse=True)
def few_resamples():
    """Resample less: whether intervals cover is asked in tests/evaluation."""
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("benchmark.evaluation.statistics.Bootstrap", partial(Bootstrap, resamples=300))
        yield


@pytest.fixture(scope="module")
def results(tmp_path_factory):
    """A results folder whose ids name patients, with heat maps, small images and a kept model."""
    out = tmp_path_factory.mktemp("results")
    study, store = Study(patients=12, slices=2), RecordStore(out)
    for number, reader in enumerate(TWELVE[:2]):
        record, predictions, cams = explained(study, reader, finds=True)
        names = {name: f"{PATIENT}-{name}" for name in predictions.image_ids.tolist()}
        predictions = replace(
            predictions,
            image_ids=np.array([names[name] for name in predictions.image_ids.tolist()]),
            groups=np.array([f"{PATIENT}-{name}" for name in predictions.groups.tolist()]),
        )
        cams = replace(cams, image_ids=np.array([names[name] for name in cams.image_ids.tolist()]))
        origin = f"/home/{PATIENT}/nets.py" if number else "built-in"
        record = record.model_copy(
            update={
                "provenance": {**record.provenance, "host": HOST, "command": COMMAND, "log_tail": [COMMAND]},
                "backbone": record.backbone.model_copy(update={"origin": origin}),
                "weights": record.weights.model_copy(update={"policy": f"/home/{PATIENT}/best.safetensors"}),
            }
        )
        store.write(record, predictions, cams)
        pixels = io.BytesIO()
        Image.fromarray(np.full((80, 80), 90, dtype=np.uint8)).save(pixels, "JPEG", comment=PATIENT.encode())
        test = predictions.part("test").image_ids.tolist()
        pack_thumbnails(dict.fromkeys(test, pixels.getvalue()), out, record.data.fingerprint)
    failed = study.run(TWELVE[2])[0]
    reason = f"'/home/{PATIENT}/a folder/{PATIENT}.jpg' can't be read."
    store.write(
        failed.model_copy(update={"outcome": Outcome.BAD_DATA, "reason": reason, "network": None, "history": ()})
    )
    model = out / "models" / "kept"
    model.mkdir(parents=True)
    described = a_model(model)
    (model / "features.safetensors").write_bytes(b"features of " + PATIENT.encode())
    (model / "exports").mkdir()
    (model / "exports" / "model.onnx").write_bytes(b"onnx")
    files = {**described.files, "features.safetensors": hash_file(model / "features.safetensors")}
    export = Export(
        file="model.onnx", target="onnx", whole=False, runtime="onnxruntime", images=9, largest_difference=0.0,
        changed_decisions=0, sha256="0" * 64,
    )  # fmt: skip
    a_model(files=files, proof_images=("0" * 16,), audit=(f"see {PATIENT}.jpg",), exports=(export,)).write(model)
    return out


def everything(folder):
    """Yield the name and the bytes of each file, also of those within zips, NumPy's included."""
    for path in sorted(folder.rglob("*")):
        if path.is_file():
            data = path.read_bytes()
            yield path.relative_to(folder).as_posix(), data
            if zipfile.is_zipfile(path):
                with zipfile.ZipFile(path) as archive:
                    for entry in archive.infolist():
                        yield f"{path.name}/{entry.filename}", archive.read(entry)


def tells(folder, word):
    """Return the names of files in which a word stands, also as NumPy stores it."""
    forms = word.encode(), word.encode("utf-32-le")
    return [name for name, data in everything(folder) if word in name or any(form in data for form in forms)]


@pytest.fixture(scope="module")
def published(results, tmp_path_factory):
    target = tmp_path_factory.mktemp("given") / "board"
    assert tells(results, PATIENT)
    assert tells(results, HOST)
    publish_to_folder(results, target, Contents(models=True))
    return target


def test_nothing_tells_of_whom_the_images_are(published):
    for word in (PATIENT, HOST, "/home", "features of"):
        assert tells(published, word) == []


def test_the_board_is_made_again_from_it(results, published, tmp_path):
    before, after = read_board(results), read_board(published)
    assert after.problems == ()
    assert [row.values["backbone"] for row in after.rows] == [row.values["backbone"] for row in before.rows]
    for first, second in zip(before.rows, after.rows, strict=True):
        for name in ("macro_f1", "ece", "patient_macro_f1", "pointing_game", "sensitivity_at_95"):
            assert second.values.get(name) == pytest.approx(first.values.get(name)), name
    with (published / "leaderboard.csv").open(newline="") as stream:
        lines = {line["backbone"]: line for line in csv.DictReader(stream)}
    assert float(lines[TWELVE[0].name]["macro_f1"]) == pytest.approx(
        next(row.macro_f1 for row in before.rows if row.values["backbone"] == TWELVE[0].name)
    )
    done = subprocess.run(
        ["sha256sum", "--quiet", "-c", "SHA256SUMS"], cwd=published, capture_output=True, text=True, check=False
    )
    assert done.returncode == 0, done.stdout
    copy = tmp_path / "copy"
    subprocess.run(["cp", "-r", str(published), str(copy)], check=True)
    record = next((copy / "records").iterdir()) / "record.json"
    record.write_text(record.read_text().replace('"seed": 0', '"seed": 1'))
    assert any("record.json is not as it was written" in problem for problem in read_board(copy).problems)


def test_the_site_has_its_images_beside_it(published):
    page = (published / "index.html").read_text()
    pictures = sorted((published / "images").iterdir())
    assert len(pictures) == 24
    assert f'"images/{pictures[0].name}"' in page
    assert "/9j/" not in page  # no JPEG within it
    assert not (published / "leaderboard.html").exists()
    linked = re.findall(r'href="([^"#]+)"', page.partition("</nav>")[0])
    assert "README.md" in linked
    assert [name for name in linked if not (published / name).is_file()] == []
    assert (published / "thumbnails").is_dir()
    card = (published / "README.md").read_text()
    assert card.startswith("---\nlicense: ")
    assert "[kept](models/kept/README.md)" in card
    assert json.loads((published / "publication.json").read_text())["kind"] == "board"


def test_without_images(results, tmp_path):
    assert main(["publish", str(results), "--to", str(tmp_path / "given"), "--without-images"]) == 0
    names = [name for name, _ in everything(tmp_path / "given")]
    assert not [name for name in names if name.startswith(("images/", "thumbnails/", "plot_cams", "plot_montage"))]
    assert not [name for name in names if name.endswith((".jpg", "cams.npz", ".safetensors"))]
    assert "models/kept/README.md" in names
    assert "models/kept/model.json" not in names
    assert "/9j/" not in (tmp_path / "given" / "index.html").read_text()
    board = read_board(tmp_path / "given")
    assert board.problems == ()
    assert tells(tmp_path / "given", PATIENT) == []


def test_two_publications_can_not_be_joined(results, published, tmp_path):
    publish_to_folder(results, tmp_path / "other", Contents())
    names = [{path.name for path in (folder / "images").iterdir()} for folder in (published, tmp_path / "other")]
    assert not names[0] & names[1]


def test_ids_are_in_the_order_of_their_pseudonyms(published):
    for record, predictions in RecordStore(published).read_all():
        if predictions is not None:
            assert predictions.image_ids.tolist() == sorted(predictions.image_ids.tolist()), record.key
            assert {name[:6] for name in predictions.image_ids.tolist()} == {"image-"}
            assert {name[:6] for name in predictions.groups.tolist()} == {"group-"}


def test_only_a_publication_is_replaced(results, tmp_path, capsys):
    mine = tmp_path / "mine"
    mine.mkdir()
    (mine / "thesis.txt").write_text("years of work")
    assert main(["publish", str(results), "--to", str(mine)]) == 2
    assert "holds something else than a publication" in capsys.readouterr().err
    assert [path.name for path in mine.iterdir()] == ["thesis.txt"]
    (tmp_path / "link").symlink_to(mine)
    assert main(["publish", str(results), "--to", str(tmp_path / "link")]) == 2
    assert main(["publish", str(results), "--to", str(results / "given")]) == 2
    assert not (results / "given").exists()
    target = tmp_path / "given"
    target.mkdir()  # an empty one may be filled
    publish_to_folder(results / "models" / "kept", target, Contents())
    (target / "old.txt").write_text("of an earlier publication")
    (tmp_path / ".new-given-12345678").mkdir()  # what a kill left
    publish_to_folder(results / "models" / "kept", target, Contents())
    assert not (target / "old.txt").exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["given", "link", "mine"]


def test_a_publication_that_fails_leaves_the_earlier_one(results, tmp_path, monkeypatch):
    target = tmp_path / "given"
    publish_to_folder(results / "models" / "kept", target, Contents())
    before = sorted(target.rglob("*"))

    def full(*_):
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("benchmark.publishing.publication.copy_model", full)
    with pytest.raises(UserError, match="can't be written: No space left"):
        publish_to_folder(results / "models" / "kept", target, Contents())
    assert sorted(target.rglob("*")) == before
    assert [path.name for path in tmp_path.iterdir()] == ["given"]


def test_a_model_goes_without_what_tells_of_its_training_images(published):
    folder = published / "models" / "kept"
    assert sorted(path.name for path in folder.iterdir()) == [
        "README.md",
        "exports",
        "model.json",
        "model.safetensors",
    ]
    model = Model.read(folder)
    model.check_files(folder)
    assert model.proof_images == ()
    assert model.calibration.distance is None
    assert model.calibration.temperature == 2.0


@pytest.mark.parametrize(
    ("text", "left"),
    [
        ("'/home/me/a b/x.jpg' can't be read.", "(a path) can't be read."),
        ("see /data/x and C:\\data\\y, or ~/z", "see (a path) and (a path), or (a path)"),
        ("Testing/glioma/Te 1.jpg", "Testing/glioma/Te (a path)"),
        ("volume.nii.gz#12 is damaged", "(a path) is damaged"),
        ("timm/resnet50 needs torch; 0.5 img/s", "timm/resnet50 needs torch; 0.5 img/s"),
        ("imagenet:timm/resnet50.a1_in1k", "imagenet:timm/resnet50.a1_in1k"),
    ],
)
def test_paths_are_taken_out_of_sentences(text, left):
    assert without_paths(text) == left


def test_reference_rows_follow_their_images():
    predictions, pseudonyms = some_predictions(), Pseudonyms()
    test = predictions.part("test")
    said = {name: [10 * number + 5, 200 - number] for number, name in enumerate(sorted(test.image_ids.tolist()))}
    packed = base64.b64encode(bytes(value for name in sorted(said) for value in said[name])).decode()
    reference = ReferencePredictions(features="histogram", probabilities=packed)
    pair = Pair(first="a.jpg", second="b.jpg", first_class="x", second_class="y", first_part="train",
                second_part="test", correlation=1.0, turn="")  # fmt: skip
    data = cohort(patients=60)
    audit = audit_data(data, make_splits(data, SplitOptions(kind="slice", folds=(1,)))[0])
    audit = audit.model_copy(update={"references": (reference,), "worst": (pair,)})
    record = a_record().model_copy(update={"audit": audit})
    published = pseudonyms.record(record, predictions, cams=False)
    flat = base64.b64decode(published.audit.references[0].probabilities)
    names = {pseudonyms.image(name): values for name, values in said.items()}
    assert list(flat) == [value for name in sorted(names) for value in names[name]]
    assert published.audit.worst[0].first == pseudonyms.image("a.jpg")


def hub_command(source, hub, tmp_path, *words, token="hf_abc"):
    environment = {**os.environ, "HF_ENDPOINT": hub.url, "HF_HOME": str(tmp_path / "hf"), "HF_HUB_DISABLE_XET": "1"}
    environment.pop("HF_TOKEN", None)
    environment |= {"HF_TOKEN": token} if token else {}
    return subprocess.run(
        [sys.executable, "-m", "benchmark", "publish", str(source), "--to", "hf:me/board", *words],
        env=environment, capture_output=True, text=True, timeout=200, check=False,
    )  # fmt: skip


@pytest.fixture
def hub():
    pytest.importorskip("huggingface_hub")
    started = Hub()
    yield started
    started.close()


def test_a_board_is_a_data_set_of_hugging_face(results, hub, tmp_path):
    done = hub_command(results, hub, tmp_path, "--without-images")
    assert done.returncode == 0, done.stderr
    assert done.stdout == f"Published: {hub.url}/datasets/me/board\n"
    assert hub.commits == ["Published by TumorBoard"]
    assert {"index.html", "README.md", "publication.json", "leaderboard.csv", "SHA256SUMS"} <= set(hub.files)
    assert hub.token == "Bearer hf_abc"
    assert not [name for name, data in hub.files.items() if PATIENT.encode() in data]
    assert any(asked.startswith("POST /api/datasets/me/board/commit/") for asked in hub.asked)


def test_a_model_is_a_model_of_hugging_face_and_replaces_its_publication(results, hub, tmp_path):
    hub.made, hub.files = True, {"publication.json": b"{}", "old.bin": b"1", ".gitattributes": b""}
    done = hub_command(results / "models" / "kept", hub, tmp_path)
    assert done.returncode == 0, done.stderr
    assert set(hub.files) == {
        ".gitattributes", "README.md", "SHA256SUMS", "exports/model.onnx", "model.json", "model.safetensors",
        "publication.json",
    }  # fmt: skip
    assert any(asked.startswith("POST /api/models/me/board/commit/") for asked in hub.asked)


def test_what_can_not_be_published_there_is_said_in_a_sentence(results, hub, tmp_path):
    model = results / "models" / "kept"
    done = hub_command(model, hub, tmp_path, token="")
    assert done.returncode == 2
    assert "needs a token that may write: set HF_TOKEN" in done.stderr
    hub.refuses = 403
    done = hub_command(model, hub, tmp_path)
    assert done.returncode == 2
    assert "'hf:me/board' can't be written (" in done.stderr.splitlines()[-1]
    hub.refuses, hub.files = 0, {"thesis.txt": b"years of work"}
    done = hub_command(model, hub, tmp_path)
    assert done.returncode == 2
    assert "holds something else than a publication" in done.stderr
    assert hub.files == {"thesis.txt": b"years of work"}
    hub.close()
    done = hub_command(model, hub, tmp_path)
    assert done.returncode == 2
    assert "nothing is published" in done.stderr.splitlines()[-1]


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["nowhere", "--to", "x"], "There is no folder 'nowhere'"),
        (["{out}", "--to", "hf:x"], "give hf:OWNER/NAME"),
        (["{out}", "--to", "x", "--private"], "--private is for --to hf:"),
        (["{out}/models/kept", "--to", "x", "--without-images"], "is one model"),
        (["{out}/models", "--to", "x"], "has no records of runs"),
    ],
)
def test_bad_words(words, said, results, tmp_path, capsys, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert main(["publish", *(word.format(out=results) for word in words)]) == 2
    assert said in capsys.readouterr().err
    assert list(Path().iterdir()) == []
