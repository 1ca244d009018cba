"""Keras networks, on TensorFlow and on torch."""
