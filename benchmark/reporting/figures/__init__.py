"""Figures: plots, montages and overlays, drawn with Matplotlib."""
