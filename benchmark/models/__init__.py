"""Trained models: kept under their library's own names, described, loaded, asked, exported."""
