"""Compare the built-in pairs and write the certificates that are shipped: ``python tests/conformance/certify.py``.

Takes minutes and a few GB of memory. With names, only pairs in which one of them is.
"""

import sys
from pathlib import Path

from backbones.registry import load_registry
from benchmark.conformance.parity import compare
from benchmark.evaluation import parity_certificates

# (torch, Keras, head): timm's VGG16 has two dense layers that the other lacks, Keras's own ResNet50 is v1
PAIRS = (
    ("torch/baseline_cnn", "keras/baseline_cnn", "native"),
    ("timm/vgg16", "keras/vgg16", "linear"),
    ("timm/resnet50", "reference:keras_resnet50_v1_5", "native"),
    ("timm/tf_efficientnet_lite0", "keras/efficientnet_lite0", "native"),
)
FOLDER = Path(parity_certificates.__file__).parent / "certificates"


def main(names: list[str]) -> int:
    """Return how many pairs are not the same network."""
    registry = load_registry()
    made = []
    for torch, keras, head in PAIRS:
        if not names or {torch, keras} & set(names):
            made.append(compare(registry.get(torch), registry.get(keras), (), size=64, head=head))
            parity_certificates.store(made[-1], FOLDER)
            print(made[-1].verdict(), flush=True)
    print(parity_certificates.as_markdown(made))
    return sum(not each.holds for each in made)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
