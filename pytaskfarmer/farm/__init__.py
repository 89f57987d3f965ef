"""One farmer: the loop that keeps its slots busy."""
