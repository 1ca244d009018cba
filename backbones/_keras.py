"""What the adapters of Keras networks share."""

from pathlib import Path
from typing import Any


def application(name: str, num_classes: int, weights: Path | str | None, input_size: int) -> Any:
    """Return a network of ``keras.applications`` with global average pooling and a dense layer as its head."""
    import keras

    features = getattr(keras.applications, name)(
        include_top=False, weights=weights, input_shape=(input_size, input_size, 3)
    )
    pooled = keras.layers.GlobalAveragePooling2D(name="avg_pool")(features.output)
    return keras.Model(
        features.input, keras.layers.Dense(num_classes, name="predictions")(pooled), name=features.name
    )
