"""Classes and groups of pictures, from their names and from a table beside them."""
