"""Guards: what is refused before a run, and what is found out about one that went wrong."""
