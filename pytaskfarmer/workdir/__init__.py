"""Everything that touches the shared file system: names, locks, claims, books, logs and the timeline."""
