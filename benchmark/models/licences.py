"""The licence of the weights that a model began from, as far as their publishers say."""

from benchmark.records.record import Record

# keras.applications and KerasCV, as their documentation names them, by the beginning of a backbone's network
_KERAS = {
    "vgg": "CC BY 4.0 (VGG, University of Oxford)",
    "resnet": "MIT (Kaiming He)",
    "efficientnet": "Apache-2.0 (Google)",
}
NOT_KNOWN = "not stated by the library; see where the weights come from"


def licence_of_weights(record: Record, by_library: str) -> str:
    """Return the licence, empty where a model began from random weights.

    Args:
        record: of the run.
        by_library: what the library says of its pretrained weights; empty where it says nothing.
    """
    if record.weights.used == "none":
        return ""
    if record.weights.used == "file":
        return "that of the file it began from"
    if by_library:
        return by_library
    network = record.backbone.name.rpartition("/")[2].rpartition(":")[2].lower()
    if record.backbone.library == "keras_cv":
        return "Apache-2.0 (KerasCV)"
    if record.backbone.name == "keras/efficientnet_lite0":
        return "apache-2.0"  # timm's weights
    return next((licence for name, licence in _KERAS.items() if network.startswith(name)), NOT_KNOWN)
