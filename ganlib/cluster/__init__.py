"""Cluster jobs from outside: submit one, follow its log, and the frame of its program."""
