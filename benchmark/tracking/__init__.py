"""Trackers: what happens in runs, and what came of them, told to TensorBoard, MLflow, W&B or another package."""
