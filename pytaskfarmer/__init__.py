"""Run a list of tasks on many slots, many nodes and through any death, with files as the only server."""

__version__ = "1.0.0"
