"""From a finished run to the champion: evaluate, compare, decide, publish, and move the aliases."""
