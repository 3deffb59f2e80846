"""A local web page on the record of runs, and one run as a file of its own."""
