"""Backbones: the registry and the adapters, one file a family."""

from backbones._keras import application as keras_network
from backbones._timm import create as timm_network
from backbones.registry import CAFFE, HALF, IMAGENET, RAW, UNIT, Backbone, MissingWeights, Preprocessing, backbone

__all__ = [
    "CAFFE",
    "HALF",
    "IMAGENET",
    "RAW",
    "UNIT",
    "Backbone",
    "MissingWeights",
    "Preprocessing",
    "backbone",
    "keras_network",
    "timm_network",
]
