"""A folder as it is searched: which files belong to it, and what they hold."""
