"""Training: the common loop, its schedules, checkpoints and cached features."""
