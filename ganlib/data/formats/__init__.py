"""How raw files are read: IDX archives and picture files."""
