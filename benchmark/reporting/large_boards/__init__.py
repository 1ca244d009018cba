"""What boards of thousands of runs need: nothing is computed twice, and both cores are used."""
