"""Values as bytes and back: equal and of the same type at every depth, by known types only."""
