"""From raw pictures to training batches: add, prepare, pull, load."""
