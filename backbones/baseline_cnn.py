"""The seed notebook's CNN: three convolutions with max-pooling, a dense layer of 256, logits."""

from typing import Any

from backbones import backbone


@backbone("keras/baseline_cnn", framework="keras", library="own", input_size=128)
def keras_baseline_cnn(num_classes: int, input_size: int) -> Any:
    import keras
    from keras import layers

    return keras.Sequential(
        [
            keras.Input((input_size, input_size, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            layers.Dense(256, activation="relu"),
            layers.Dense(num_classes),
        ]
    )
