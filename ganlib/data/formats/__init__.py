"""Readers of raw files: IDX archives and picture files."""
