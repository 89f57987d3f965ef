"""Plug-ins: how one task is run."""
