"""Problem 1: the common items of pairs of rows. A function of two arguments is called by `starmap`."""

from pytaskfarmer import Pool

Row = list[int]

ROWS_1 = [[1, 2, 3], [5, 6, 7, 8], [10, 11, 12], [20, 21]]
ROWS_2 = [[2, 3, 4, 5], [6, 9, 10], [11, 12, 13, 14], [21, 24, 25]]


def common(row_1: Row, row_2: Row) -> Row:
    """Return what is in both rows, in the order of the first."""
    return [item for item in row_1 if item in row_2]


def solve() -> list[Row]:
    """Print and return the common items of each pair."""
    with Pool(2) as pool:
        shared = pool.starmap(common, zip(ROWS_1, ROWS_2, strict=True))
    print(f"Problem 1: the common items of pairs of rows are {shared}")
    return shared
