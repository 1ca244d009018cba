"""Backbones: the registry and the adapters, one file a family."""

from backbones.registry import CAFFE, HALF, IMAGENET, RAW, UNIT, Backbone, MissingWeights, Preprocessing, backbone

__all__ = ["CAFFE", "HALF", "IMAGENET", "RAW", "UNIT", "Backbone", "MissingWeights", "Preprocessing", "backbone"]
