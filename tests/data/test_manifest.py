"""A user's own images, listed in a table; DICOM and NIfTI among them."""

import gzip
import shutil

import numpy as np
import pytest
from PIL import Image

from benchmark.data.audit.audit import audit_data
from benchmark.data.preparation.prepare import load_prepared, open_dataset
from benchmark.data.sources import medical
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.errors import UserError
from tests.data.slices import patchy


@pytest.fixture
def listed(tmp_path, draw):
    """Return a function that writes a manifest of ten drawn images and gives its path."""
    for k in range(10):
        draw(f"own/images/{k}.png", k)

    def write(header="path,label,group,split", change=None, name="table.csv"):
        rows = [
            {
                "path": f"images/{k}.png",
                "label": "No tumor" if k % 2 else "Glioma",
                "group": f"p{k // 2}",
                "split": "test" if k > 7 else "train",
            }
            for k in range(10)
        ]
        for row, column, value in change or ():
            rows[row][column] = value
        columns = header.split(",")
        lines = [header, *(",".join(row.get(column, "") for column in columns) for row in rows)]
        path = tmp_path / "own" / name
        path.write_text("\n".join(lines) + "\n", encoding="utf-8")
        return path

    return write


def refused(path, match):
    with pytest.raises(UserError, match=match) as caught:
        open_dataset(str(path), size=8)
    assert "\n" not in str(caught.value)


def test_a_manifest_gives_labels_groups_and_split(listed):
    data = open_dataset(str(listed()), size=16)
    assert data.class_names == ("glioma", "notumor")
    assert data.negative_class == "notumor"
    assert data.groups.tolist() == [f"p{k // 2}" for k in range(10)]
    assert data.parts.tolist() == ["train"] * 8 + ["test"] * 2
    assert data.image_ids[3] == "images/3.png"


def test_parquet_says_the_same_as_csv(listed):
    pd = pytest.importorskip("pandas")
    pytest.importorskip("pyarrow")
    path = listed()
    pd.read_csv(path).to_parquet(path.with_suffix(".parquet"))
    csv, parquet = open_dataset(str(path), size=8), open_dataset(str(path.with_suffix(".parquet")), size=8)
    assert parquet.fingerprint == csv.fingerprint
    assert parquet.groups.tolist() == csv.groups.tolist()


def test_group_and_split_may_be_absent(listed):
    data = open_dataset(str(listed("path,label")), size=8)
    assert data.groups is None
    assert data.parts is None


def test_masks_are_read_and_may_be_empty(listed, tmp_path):
    mask = np.zeros((20, 24), np.uint8)
    Image.fromarray(mask).save(tmp_path / "own/images/empty.png")
    mask[5:15, 6:18] = 1
    Image.fromarray(mask).save(tmp_path / "own/images/lesion.png")
    path = listed("path,label,mask", [(0, "mask", "images/lesion.png"), (1, "mask", "images/empty.png")])
    data = open_dataset(str(path), size=16)
    assert data.masks[0].sum() == pytest.approx(64, abs=10)
    assert data.masks[1].sum() == 0
    Image.fromarray(mask[:10]).save(tmp_path / "own/images/lesion.png")
    refused(path, r"Mask '.*lesion\.png' has 10 x 24 pixels and its image 20 x 24")


def test_validation_images_are_the_official_ones(listed):
    data = open_dataset(str(listed(change=[(0, "split", "val"), (1, "split", "Valid")])), size=8)
    assert data.parts.tolist() == ["validation"] * 2 + ["train"] * 6 + ["test"] * 2
    assert any("2 validation images are the official ones" in note for note in data.notes)
    for seed in (0, 1):
        split = make_splits(data, SplitOptions(seed=seed, validation_fraction=0.5))[0]
        assert split.validation.tolist() == [0, 1]
        assert split.test.tolist() == [8, 9]


@pytest.mark.parametrize(
    ("change", "match"),
    [
        ((3, "path", "images/absent.png"), r"names a file that does not exist: 'images/absent\.png'"),
        ((3, "path", "../outside.png"), r"names '\.\./outside\.png', outside its folder"),
        ((3, "path", "/etc/passwd"), r"names '/etc/passwd', outside its folder"),
        ((3, "path", "table.csv"), "which is not an image"),
        ((3, "path", "images/2.png"), r"lists the image 'images/2\.png' twice"),
        ((3, "label", ""), "has no label in row 4"),
        ((3, "split", "training2"), "has the split 'training2' in row 4"),
        ((3, "split", ""), "gives some images a split, others none"),
        ((3, "path", "images/4.png,extra"), "line 5 has not 4 cells"),
    ],
)
def test_rows_that_can_not_be(listed, change, match):
    refused(listed(change=[change]), match)


def test_tables_that_can_not_be(listed, tmp_path):
    refused(listed("path,group"), "has no column 'label'")
    refused(listed("path,label,spilt"), r"unknown column 'spilt'\. Did you mean 'split'\?")
    refused(listed("path,label,mask", [(0, "mask", "images/no.png")]), "names a mask that does not exist")
    (tmp_path / "own/empty.csv").write_text("path,label\n")
    refused(tmp_path / "own/empty.csv", "lists no image")
    (tmp_path / "own/broken.parquet").write_bytes(b"not parquet")
    refused(tmp_path / "own/broken.parquet", "can't be read")
    refused(listed("path,label", [(k, "label", "glioma") for k in range(10)]), "one class only")


def test_a_link_out_of_the_folder_is_refused(listed, tmp_path, draw):
    (tmp_path / "own/images/link.png").symlink_to(draw("elsewhere.png"))
    refused(listed(change=[(0, "path", "images/link.png")]), "outside its folder")


def write_dicom(path, values, **changes):
    pydicom = pytest.importorskip("pydicom")
    meta = pydicom.dataset.FileMetaDataset()
    meta.TransferSyntaxUID = pydicom.uid.ExplicitVRLittleEndian
    meta.MediaStorageSOPClassUID = pydicom.uid.MRImageStorage
    meta.MediaStorageSOPInstanceUID = "1.2.3"
    file = pydicom.dataset.FileDataset(str(path), {}, file_meta=meta, preamble=bytes(128))
    file.Rows, file.Columns = values.shape
    file.SamplesPerPixel, file.PhotometricInterpretation = 1, "MONOCHROME2"
    file.BitsAllocated, file.BitsStored, file.HighBit, file.PixelRepresentation = 16, 16, 15, 0
    file.PixelData = values.astype(np.uint16).tobytes()
    for name, value in changes.items():
        setattr(file, name, value)
    file.save_as(path, enforce_file_format=True)


def test_dicom_slices(listed, tmp_path):
    ramp = np.tile(np.arange(24) * 100, (20, 1))
    write_dicom(tmp_path / "own/images/a.dcm", ramp)
    write_dicom(tmp_path / "own/images/b.dcm", ramp, PhotometricInterpretation="MONOCHROME1")
    path = listed("path,label", [(0, "path", "images/a.dcm"), (1, "path", "images/b.dcm")])
    data = open_dataset(str(path), size=24)
    across = data.pixels[:2, 12, :, 0].astype(int)
    assert (np.diff(across[0]) > 0).all()
    assert across[0] == pytest.approx(255 - across[1], abs=2)
    (tmp_path / "own/images/a.dcm").write_bytes(b"damaged")
    refused(path, r"a\.dcm' can't be read")


def write_volume(path, seed, slices=6):
    nibabel = pytest.importorskip("nibabel")
    path.parent.mkdir(parents=True, exist_ok=True)
    values = np.random.default_rng(seed).integers(0, 500, (16, 16, slices)).astype(np.int16)
    nibabel.save(nibabel.Nifti1Image(values, np.eye(4)), path)
    return path


def test_slices_of_one_file_are_of_one_patient_and_no_copies(tmp_path):
    lines = ["path,label,slice"]
    for k in range(8):
        write_volume(tmp_path / f"own/v{k}.nii.gz", k)
        lines += [f"v{k}.nii.gz,{'ab'[(k + number // 3) % 2]},{number}" for number in range(6)]
    table = tmp_path / "own/table.csv"
    table.write_text("\n".join(lines))
    data = open_dataset(str(table), size=8)
    assert set(data.groups) == {f"v{k}.nii.gz" for k in range(8)}
    assert any("the slices of one file are of one patient: 8 files" in note for note in data.notes)
    split = make_splits(data, SplitOptions(seed=0, validation_fraction=0.3, test_fraction=0.3))[0]
    assert split.leaks == ()
    audit = audit_data(data, split)
    assert (audit.byte_identical.groups, audit.byte_identical.conflicting) == (0, 0)
    shutil.copy(tmp_path / "own/v0.nii.gz", tmp_path / "own/v1.nii.gz")  # whole files that are copies are found
    copied = open_dataset(str(table), size=8)
    assert (
        audit_data(
            copied, make_splits(copied, SplitOptions(seed=0, validation_fraction=0.3))[0]
        ).byte_identical.groups
        == 6
    )


def test_a_volume_is_read_once_whatever_its_slices(tmp_path, monkeypatch):
    lines = ["path,label,slice", *(f"v{k}.nii.gz,{'ab'[k]},{number}" for k in range(2) for number in range(40))]
    for k in range(2):
        write_volume(tmp_path / f"own/v{k}.nii.gz", k, slices=40)
    (tmp_path / "own/table.csv").write_text("\n".join(lines))
    read = []
    whole = medical.read_volume
    monkeypatch.setattr(medical, "read_volume", lambda data, name: read.append(name) or whole(data, name))
    assert len(open_dataset(str(tmp_path / "own/table.csv"), size=8)) == 80
    assert len(read) == 2


def test_frames_of_a_picture_are_slices(tmp_path):
    frames = [Image.fromarray(patchy(k)) for k in range(4)]
    (tmp_path / "own").mkdir()
    for name in "pq":
        frames[0].save(tmp_path / f"own/{name}.tif", save_all=True, append_images=frames[1:])
    lines = ["path,label,slice", *(f"{name}.tif,{name},{k}" for name in "pq" for k in range(4))]
    (tmp_path / "own/table.csv").write_text("\n".join(lines))
    data = open_dataset(str(tmp_path / "own/table.csv"), size=32)
    assert len(np.unique(data.identical)) == 4
    assert np.array_equal(data.pixels[2, ..., 0], patchy(2))
    refused_lines = [*lines, "p.tif,p,9"]
    (tmp_path / "own/table.csv").write_text("\n".join(refused_lines))
    refused(tmp_path / "own/table.csv", r"p\.tif' has no slice 9: it has 4")


def test_dicom_headers_give_patients_and_scanners_and_nothing_of_names_or_dates(tmp_path):
    (tmp_path / "own").mkdir()
    lines = ["path,label"]
    planes = ([1, 0, 0, 0, 1, 0], [0, 1, 0, 0, 0, -1])
    for k in range(12):
        header = {
            "PatientID": f"DOE-{k // 2}",
            "PatientName": "Doe^Jane",
            "StudyDate": "20240229",
            "StudyInstanceUID": f"1.2.{k // 2}",
            "ImageOrientationPatient": planes[k % 2],
            "SliceThickness": 5 + k % 2,
            "MagneticFieldStrength": (3, 15000)[k % 2],
            "Manufacturer": "SIEMENS ",
        }
        if k > 9:
            header["PatientID"] = ""
        write_dicom(tmp_path / f"own/{k}.dcm", patchy(k).astype(np.uint16) * 9, **header)
        lines.append(f"{k}.dcm,{'ab'[k // 2 % 2]}")
    (tmp_path / "own/table.csv").write_text("\n".join(lines))
    data = open_dataset(str(tmp_path / "own/table.csv"), size=16)
    assert len(set(data.groups)) == 6
    assert data.groups[0] == data.groups[1]
    assert data.groups[10].startswith("study-")
    assert data.planes.tolist() == ["axial", "sagittal"] * 6
    assert data.scanners.tolist() == ["SIEMENS 3 T", "SIEMENS 1.5 T"] * 6
    assert data.thicknesses.tolist() == [5, 6] * 6
    assert any("6 patients; SIEMENS 3 T (6), SIEMENS 1.5 T (6); slices of 5 to 6 mm" in note for note in data.notes)
    kept = b"".join(path.read_bytes() for path in data.folder.parent.rglob("*") if path.is_file())
    for private in (b"DOE", b"Doe", b"Jane", b"20240229", b"1.2.0"):
        assert private not in kept
    again = load_prepared(data.folder)
    assert again.scanners.tolist() == data.scanners.tolist()
    folder = tmp_path / "classes"
    for k in range(12):
        (folder / "ab"[k // 2 % 2]).mkdir(parents=True, exist_ok=True)
        shutil.copy(tmp_path / f"own/{k}.dcm", folder / "ab"[k // 2 % 2])
    assert len(set(open_dataset(str(folder), size=16).groups)) == 6


def test_images_without_a_patient_among_others_are_told(listed):
    path = listed(change=[(0, "group", ""), (3, "group", "")])
    data = open_dataset(str(path), size=8)
    assert len(set(data.groups)) == 7
    assert any("the patients of 2 images are unknown" in note for note in data.notes)


def test_nifti_slices_are_turned_to_the_usual_view(listed, tmp_path):
    nibabel = pytest.importorskip("nibabel")
    volume = np.zeros((24, 20, 3), np.int16)  # x to the patient's right, y to the front, z up
    volume[:, :, 1] = np.random.default_rng(0).integers(0, 10, (24, 20))
    volume[-4:, -4:, 1] = 500  # right and front
    nibabel.save(nibabel.Nifti1Image(volume, np.eye(4)), tmp_path / "own/images/v.nii.gz")
    nibabel.save(nibabel.Nifti1Image(volume[::-1], np.diag([-1, 1, 1, 1])), tmp_path / "own/images/w.nii")
    change = [(k, column, value) for k, name in enumerate(("v.nii.gz", "w.nii")) for column, value in (
        ("path", f"images/{name}"), ("slice", "1"))]  # fmt: skip
    path = listed("path,label,slice", change)
    data = open_dataset(str(path), size=20, resize="pad")
    assert data.image_ids[0] == "images/v.nii.gz#1"
    assert data.native_sizes[0].tolist() == [20, 24]
    for pixels in data.pixels[:2]:
        bright = np.argwhere(pixels[..., 0] > 200)
        assert bright.max() < 8  # upper left: the patient's right is on the left
    refused(listed("path,label,slice", [*change, (0, "slice", "7")]), "has no slice 7: it has 3")
    refused(listed("path,label,slice", [*change, (0, "slice", "")]), r"v\.nii\.gz' is a volume of 3 slices")
    refused(listed("path,label,slice", [*change, (0, "slice", "x")]), "has the slice 'x' in row 1")
    refused(listed("path,label,slice", [*change, (0, "slice", "0")]), r"v\.nii\.gz' is constant")
    whole = (tmp_path / "own/images/v.nii.gz").read_bytes()
    (tmp_path / "own/images/v.nii.gz").write_bytes(whole[:40])
    refused(path, r"v\.nii\.gz' can't be read")


def test_a_nifti_bomb_is_refused(listed, tmp_path, monkeypatch):
    pytest.importorskip("nibabel")
    monkeypatch.setattr("benchmark.data.sources.medical._MAX_UNPACKED", 2**20)
    (tmp_path / "own/images/bomb.nii.gz").write_bytes(gzip.compress(bytes(2**24)))
    refused(listed("path,label", [(0, "path", "images/bomb.nii.gz")]), r"bomb\.nii\.gz' can't be read .it unpacks")


@pytest.mark.parametrize("skip_corrupt", [False, True])
def test_a_missing_library_is_named_and_no_image_blamed(listed, tmp_path, monkeypatch, skip_corrupt):
    (tmp_path / "own/images/a.dcm").write_bytes(b"whatever")
    monkeypatch.setitem(__import__("sys").modules, "pydicom", None)
    path = listed("path,label", [(0, "path", "images/a.dcm")])
    with pytest.raises(UserError, match=r"needs pydicom: pip install 'tumorboard\[medical\]'\.$"):
        open_dataset(str(path), size=8, skip_corrupt=skip_corrupt)


def test_scanner_and_source_of_a_table_are_known_where_it_says_them(tmp_path, draw):
    rows = ["path,label,plane,scanner,source"]
    for k in range(12):
        draw(f"own/{k}.png", k)
        rows.append(f"{k}.png,{'ab'[k % 2]},{('axial', '')[k > 5]},SIEMENS 3 T,{('Lyon', '')[k == 3]}")
    (tmp_path / "own/table.csv").write_text("\n".join(rows))
    data = open_dataset(str(tmp_path / "own/table.csv"), size=8)
    assert data.planes.tolist() == ["axial"] * 6 + [""] * 6, "known of some images, not of others"
    assert data.scanners.tolist() == ["SIEMENS 3 T"] * 12
    assert data.sources.tolist() == ["Lyon"] * 3 + [""] + ["Lyon"] * 8
    assert load_prepared(data.folder).sources.tolist() == data.sources.tolist()
    assert data.thicknesses is None
