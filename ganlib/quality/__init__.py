"""Quality of a generator: features of pictures, distances between them, grids to look at."""
