"""Small ``N.mat`` files of exactly the structure of the Cheng data set, written as MATLAB writes them."""

from pathlib import Path

import h5py
import numpy as np

HEADER = b"MATLAB 7.3 MAT-file, Platform: PCWIN64, Created on: Tue Nov 18 12:00:00 2014 HDF5 schema 1.00 ."


def patchy(number: int, side: int = 32) -> np.ndarray:
    """Return a picture of 8 x 8 patches, uint8, that no other number's is like."""
    patches = np.random.default_rng(number).integers(0, 256, (8, 8), dtype=np.uint8)
    return np.kron(patches, np.ones((-(-side // 8),) * 2, dtype=np.uint8))[:side, :side]


def slice_fields(number: int, label: int = 1, patient: str = "100360", side: int = 32) -> dict[str, np.ndarray]:
    """Return one slice as a reader of the file sees it in MATLAB: a patchy head with a bright tumour off centre.

    The patches differ from number to number, so that no two slices are near-duplicates.
    """
    rng = np.random.default_rng(number)
    rows, columns = np.mgrid[:side, :side]
    patches = np.kron(rng.integers(0, 500, (8, 8)), np.ones((-(-side // 8),) * 2))[:side, :side]
    image = (patches + rng.integers(50, 150, (side, side))).astype(np.int16)
    tumour = ((rows - side * 0.3) / (side * 0.08)) ** 2 + ((columns - side * 0.7) / (side * 0.15)) ** 2 <= 1
    image[tumour] += 1000
    angles = np.linspace(0, 2 * np.pi, 40, endpoint=False)
    # x is the column and y the row, both counted from 1
    border = np.stack(
        [side * 0.7 + side * 0.15 * np.cos(angles) + 1, side * 0.3 + side * 0.08 * np.sin(angles) + 1], axis=1
    )
    return {
        "label": np.array([[label]], dtype=np.float64),
        "PID": np.array([[ord(character)] for character in patient], dtype=np.uint16),
        "image": image,
        "tumorMask": tumour.astype(np.uint8),
        "tumorBorder": border.reshape(1, -1).astype(np.float64),
    }


def write_slice(path: Path, fields: dict[str, np.ndarray], group: str = "cjdata", header: bytes = HEADER) -> Path:
    """Write a slice as MATLAB v7.3 does: a header of 512 bytes, and matrices with their columns first."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w", userblock_size=512) as file:
        for name, value in fields.items():
            turned = value.T if name in ("image", "tumorMask") else value
            file.create_dataset(f"{group}/{name}", data=turned)
    with path.open("rb+") as stream:
        stream.write(header)
    return path


def write_folds(path: Path, folds: list[int]) -> Path:
    """Write a ``cvind.mat``."""
    with h5py.File(path, "w", userblock_size=512) as file:
        file["cvind"] = np.array([folds], dtype=np.float64)
    with path.open("rb+") as stream:
        stream.write(HEADER)
    return path


def write_cheng(folder: Path, patients: int = 12, slices: int = 3) -> Path:
    """Write a small data set with folds: the labels go round, slices of a patient follow each other."""
    number = 0
    folds = []
    for patient in range(patients):
        for _ in range(slices):
            number += 1
            fields = slice_fields(number, 1 + patient % 3, f"MR{patient:04d}")
            write_slice(folder / f"{number}.mat", fields)
            folds.append(1 + patient // 3 % 4)
    write_folds(folder / "cvind.mat", folds)
    return folder
