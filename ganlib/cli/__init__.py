"""The command line: ``ganlib``, one file for each family of commands."""
