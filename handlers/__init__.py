"""Plug-ins: how a task list is read."""
