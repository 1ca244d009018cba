"""The seed notebook's CNN: three convolutions with max-pooling, a dense layer of 256, logits."""

from typing import Any

from backbones import backbone


@backbone("keras/baseline_cnn", framework="keras", input_size=128, parameters=4_219_172, stage_count=4)
def keras_baseline_cnn(num_classes: int, input_size: int, dropout: float = 0.0) -> Any:
    import keras
    from keras import layers

    after_the_last_convolution = [layers.Dropout(dropout, name="dropout")] if dropout else []
    return keras.Sequential(
        [
            keras.Input((input_size, input_size, 3)),
            layers.Conv2D(16, 3, padding="same", activation="relu", name="conv1"),
            layers.MaxPooling2D(),
            layers.Conv2D(32, 3, padding="same", activation="relu", name="conv2"),
            layers.MaxPooling2D(),
            layers.Conv2D(64, 3, padding="same", activation="relu", name="conv3"),
            layers.MaxPooling2D(),
            layers.Flatten(),
            *after_the_last_convolution,
            layers.Dense(256, activation="relu", name="dense"),
            layers.Dense(num_classes, name="logits"),
        ]
    )


@backbone("torch/baseline_cnn", framework="torch", input_size=128, parameters=4_219_172, stage_count=4)
def torch_baseline_cnn(num_classes: int, input_size: int, dropout: float = 0.0) -> Any:
    from collections import OrderedDict

    from torch import nn

    def block(inputs: int, outputs: int) -> nn.Sequential:
        return nn.Sequential(nn.Conv2d(inputs, outputs, 3, padding="same"), nn.ReLU(), nn.MaxPool2d(2))

    flat = 64 * (input_size // 8) ** 2
    after_the_last_convolution = [("dropout", nn.Dropout(dropout))] if dropout else []
    dense = [("dense", nn.Linear(flat, 256)), ("relu", nn.ReLU()), ("logits", nn.Linear(256, num_classes))]
    head = nn.Sequential(OrderedDict([("flatten", nn.Flatten()), *after_the_last_convolution, *dense]))
    stages = OrderedDict(conv1=block(3, 16), conv2=block(16, 32), conv3=block(32, 64), head=head)
    model = nn.Sequential(stages)
    for layer in model.modules():
        if isinstance(layer, nn.Conv2d | nn.Linear):  # initialised as Keras does
            nn.init.xavier_uniform_(layer.weight)
            nn.init.zeros_(layer.bias)
    return model
