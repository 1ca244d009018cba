"""What a network keeps of its scores when images are not what they were."""
