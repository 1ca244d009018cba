"""Stages: the steps of a backbone's forward pass, found in its graph."""
