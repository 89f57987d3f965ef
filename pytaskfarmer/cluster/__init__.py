"""The batch systems: what a job is, and one module for each system that can run it."""
