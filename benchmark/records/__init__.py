"""Records: what a run is, what it leaves, and where that is kept."""
