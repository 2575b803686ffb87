"""``python -m ganlib.cli``: the same as the command ``ganlib``."""

from ganlib.cli.main import main

main()
