"""The warm worker: a process that stays in its slot and is handed task after task."""

from pytaskfarmer.worker.servant import Servant, TaskFacts, command

__all__ = ["Servant", "TaskFacts", "command"]
