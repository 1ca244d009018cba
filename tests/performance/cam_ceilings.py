"""What heat maps of a size can score at best, and what maps score that know nothing of the image.

``python tests/performance/cam_ceilings.py SOURCE [--size 224] [--fold 1]`` takes a source with lesions' masks, as
``--data`` does, and prints a Markdown table for the docs: the lesion itself and the baselines, averaged to maps of
each size and enlarged again, scored on the masks of one fold's test images.
"""

import argparse

import numpy as np

from benchmark.data.options import DataOptions, open_data
from benchmark.data.splits.splits import SplitOptions, make_splits
from benchmark.evaluation.cam_metrics import ENERGY, IOU, POINTING, mean_mask, score_baselines, score_oracle

SIDES = (2, 4, 7, 8, 14)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("source")
    parser.add_argument("--size", type=int, default=224)
    parser.add_argument("--fold", type=int, default=1)
    options = parser.parse_args()
    data = open_data(DataOptions(source=options.source, size=options.size))
    (split,) = make_splits(data, SplitOptions(folds=(options.fold,)))
    assert data.masks is not None, "the source has no masks"
    masks = np.asarray(data.masks[split.test]) != 0
    masks = masks[masks.any(axis=(1, 2))]
    usual = mean_mask(data.masks[split.train])
    found = {}
    for side in SIDES:
        scores = {
            "the lesion itself": score_oracle(masks, (side, side)),
            **score_baselines(masks, usual, (side, side)),
        }
        for name, each in scores.items():
            found[name, side] = " / ".join(f"{each[score].mean():.3f}" for score in (POINTING, ENERGY, IOU))
    print(f"{len(masks)} images of {split.name}, {options.size} px; pointing game / energy / IoU")
    print("| map | " + " | ".join(f"{side} x {side}" for side in SIDES) + " |")
    print("| :-- |" + " --: |" * len(SIDES))
    for name in dict.fromkeys(name for name, _ in found):
        print(f"| {name} | " + " | ".join(found[name, side] for side in SIDES) + " |")


if __name__ == "__main__":
    main()
