"""How hard the phantom is: run by hand, prints one line for each figure.

    python tests/performance/phantom_difficulty.py --seeds 0 1 2 --sizes 64 128

Hard in the right way means that the baseline network, trained to convergence, reaches a macro-F1 of 0.70 to 0.93 on
patients it has not seen; that trivial features (size, mean, border, histogram) stay within 0.10 of chance, which is
0.25; and that the lesion's position alone (centroid of the mask and plane, tumour classes only, since a healthy slice
has none) stays below 0.6, where chance is 0.33. Every figure is scored on the pooled predictions of a grouped,
stratified cross-validation, so that all 240 patients count.
"""

import argparse
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import numpy.typing as npt
from PIL import Image
from sklearn.base import ClassifierMixin
from sklearn.ensemble import RandomForestClassifier
from sklearn.linear_model import LogisticRegression
from sklearn.metrics import confusion_matrix, f1_score
from sklearn.model_selection import StratifiedGroupKFold
from sklearn.pipeline import make_pipeline
from sklearn.preprocessing import StandardScaler

from benchmark.data.sources.phantom import PhantomSource

Array = npt.NDArray[np.float64]
Labels = npt.NDArray[np.int64]


@dataclass(frozen=True)
class Images:
    """All images of one phantom: pixels and masks uint8 of shape (N, 192, 192)."""

    pixels: npt.NDArray[np.uint8]
    masks: npt.NDArray[np.uint8]
    labels: Labels
    patients: npt.NDArray[np.str_]
    planes: npt.NDArray[np.str_]
    class_names: tuple[str, ...]


def generate(seed: int) -> Images:
    """Make a phantom on two threads and say how long that took."""
    start = time.perf_counter()
    source = PhantomSource(seed)
    with ThreadPoolExecutor(2) as threads:
        loaded = list(threads.map(source.load, range(len(source.items))))
    print(f"seed {seed}: {len(loaded)} slices generated in {time.perf_counter() - start:.1f} s", flush=True)
    return Images(
        np.stack([each.pixels for each in loaded]),
        np.stack([each.mask for each in loaded if each.mask is not None]),
        np.array([source.facts.class_names.index(item.class_name) for item in source.items]),
        np.array([str(item.group) for item in source.items]),
        np.array([str(item.plane) for item in source.items]),
        source.facts.class_names,
    )


def folds(labels: Labels, patients: npt.NDArray[np.str_], seed: int) -> list[tuple[Labels, Labels]]:
    splitter = StratifiedGroupKFold(5, shuffle=True, random_state=seed)
    return list(splitter.split(labels, labels, patients))


def trivial_features(pixels: npt.NDArray[np.uint8]) -> Array:
    """Size, mean, border and histogram of each image: shape (N, 37)."""
    rows = []
    for image in pixels.astype(float):
        border = np.concatenate([image[:4].ravel(), image[-4:].ravel(), image[:, :4].ravel(), image[:, -4:].ravel()])
        histogram = np.histogram(image, bins=32, range=(0, 256))[0] / image.size
        rows.append([image.shape[0], image.mean(), image.std(), border.mean(), border.std(), *histogram])
    return np.asarray(rows)


def position_features(images: Images) -> Array:
    """Centroid of each mask and plane, one-hot: shape (N, 5)."""
    rows = []
    for mask, plane in zip(images.masks, images.planes, strict=True):
        down, right = (np.argwhere(mask) if mask.any() else np.full((1, 2), 96)).mean(axis=0)
        rows.append([down, right, *(plane == name for name in ("axial", "coronal", "sagittal"))])
    return np.asarray(rows, dtype=float)


def out_of_fold(model: ClassifierMixin, features: Array, labels: Labels, patients: npt.NDArray[np.str_]) -> float:
    """Return the macro-F1 of a classifier's pooled out-of-fold predictions."""
    predicted = np.empty_like(labels)
    for train, test in folds(labels, patients, seed=0):
        predicted[test] = model.fit(features[train], labels[train]).predict(features[test])
    return float(f1_score(labels, predicted, average="macro"))


def simple_models() -> dict[str, ClassifierMixin]:
    return {
        "logistic regression": make_pipeline(StandardScaler(), LogisticRegression(max_iter=2000)),
        "random forest": RandomForestClassifier(400, random_state=0, n_jobs=2),
    }


def resized(pixels: npt.NDArray[np.uint8], size: int) -> npt.NDArray[np.uint8]:
    return np.stack([np.asarray(Image.fromarray(p).resize((size, size), Image.Resampling.BILINEAR)) for p in pixels])


def baseline(images: Images, size: int, epochs: int, seed: int, how_many_folds: int) -> Labels:
    """Train the seed notebook's network on each fold; return predictions, -1 where a fold was left out."""
    import torch
    from torch import nn

    torch.manual_seed(seed)
    x = torch.from_numpy(resized(images.pixels, size)).float()[:, None].repeat(1, 3, 1, 1) / 255
    y = torch.from_numpy(images.labels)
    predicted = np.full(len(y), -1)
    rng = np.random.default_rng(seed)
    for train, test in folds(images.labels, images.patients, seed)[:how_many_folds]:
        layers: list[nn.Module] = []
        for before, after in ((3, 16), (16, 32), (32, 64)):
            layers += [nn.Conv2d(before, after, 3, padding=1), nn.ReLU(), nn.MaxPool2d(2)]
        layers += [nn.Flatten(), nn.Linear(64 * (size // 8) ** 2, 256), nn.ReLU(), nn.Linear(256, 4)]
        model = nn.Sequential(*layers).to(memory_format=torch.channels_last)
        optimizer = torch.optim.Adam(model.parameters(), 1e-3)
        steps = epochs * (len(train) // 32)
        schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, 1e-3, total_steps=steps)
        model.train()
        last = 0.0
        for _ in range(epochs):
            order = rng.permutation(train)
            last = 0.0
            for start in range(0, len(order) - 31, 32):
                batch = torch.from_numpy(order[start : start + 32])
                optimizer.zero_grad()
                loss = nn.functional.cross_entropy(model(x[batch]), y[batch])
                loss.backward()
                optimizer.step()
                schedule.step()
                last += float(loss.detach()) / (len(order) // 32)
        model.eval()
        with torch.no_grad():
            predicted[test] = model(x[torch.from_numpy(test)]).argmax(1).numpy()
        print(
            f"  fold of {len(test)}: training loss {last:.3f}, macro-F1 "
            f"{f1_score(images.labels[test], predicted[test], average='macro'):.3f}",
            flush=True,
        )
    return predicted


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0])
    parser.add_argument("--sizes", type=int, nargs="*", default=[64, 128], help="none: only the simple models")
    parser.add_argument("--epochs", type=int, default=30)
    parser.add_argument("--folds", type=int, default=5, help="train the network on so many of the five folds")
    parser.add_argument("--montage", type=Path, help="a folder: save what the network missed as a picture")
    chosen = parser.parse_args()
    for seed in chosen.seeds:
        images = generate(seed)
        tumour = images.labels != images.class_names.index("notumor")
        trivial, position = trivial_features(images.pixels), None
        position = position_features(
            Images(
                images.pixels[tumour],
                images.masks[tumour],
                images.labels[tumour],
                images.patients[tumour],
                images.planes[tumour],
                images.class_names,
            )
        )
        for name, model in simple_models().items():
            all_classes = out_of_fold(model, trivial, images.labels, images.patients)
            negative = out_of_fold(model, trivial, tumour.astype(np.int64), images.patients)
            places = out_of_fold(model, position, images.labels[tumour], images.patients[tumour])
            print(
                f"seed {seed}, {name}: trivial features {all_classes:.3f} (chance 0.25), tumour or not "
                f"{negative:.3f}, lesion position {places:.3f} (chance 0.33)",
                flush=True,
            )
        for size in chosen.sizes:
            start = time.perf_counter()
            predicted = baseline(images, size, chosen.epochs, seed, chosen.folds)
            scored = predicted >= 0
            each = f1_score(images.labels[scored], predicted[scored], average=None)
            print(
                f"seed {seed}, baseline CNN at {size} px, {chosen.epochs} epochs: macro-F1 {each.mean():.3f} ("
                + ", ".join(f"{c} {f:.2f}" for c, f in zip(images.class_names, each, strict=True))
                + f"), {time.perf_counter() - start:.0f} s"
            )
            print(confusion_matrix(images.labels[scored], predicted[scored]), flush=True)


if __name__ == "__main__":
    main()
