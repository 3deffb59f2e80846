"""Ready graphs, one folder each, named as the command line names them."""
