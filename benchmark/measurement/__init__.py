"""Measurement: what is measured of a trained network, in its worker."""
