"""Research in a folder of texts: a plan, findings that cite their sources, and a checked report."""
