"""Stages of a Keras network: found in its graph, and verified."""
