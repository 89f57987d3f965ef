"""What people see of a run: read from its files, or watched as it happens."""
