"""What the patterns are made of: the state graph itself, branches, races, workers."""
