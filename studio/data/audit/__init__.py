"""What is wrong with the examples of a data set, found before a GPU minute is spent."""
