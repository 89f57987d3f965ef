"""`python -m pytaskfarmer.worker SERVANT OPTIONS`: what a farmer starts."""

from pytaskfarmer.worker.serving import main

if __name__ == "__main__":  # processes that a task starts with `multiprocessing` import this module again
    main()
