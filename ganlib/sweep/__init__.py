"""Hyperparameter sweeps: configuration, search, stopping, the ledger, and the trials on Ray Tune."""
