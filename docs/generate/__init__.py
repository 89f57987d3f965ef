"""What the manual takes from the program itself when it is built."""
