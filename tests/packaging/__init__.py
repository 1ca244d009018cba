"""What is installed, by which extra, and what the packages hold."""
