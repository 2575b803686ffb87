"""How good a generator is: features of pictures, distances between them, grids to look at."""
