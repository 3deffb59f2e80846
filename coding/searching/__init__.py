"""Search without a model: words, meaning, paths; files first, then the lines in them."""
