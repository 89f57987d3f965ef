"""The same farm for callers in Python: `Pool` like multiprocessing's, `Executor` like concurrent.futures'."""
