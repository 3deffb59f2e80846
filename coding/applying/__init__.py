"""An edit that a model wrote as a snippet, merged into a file, or refused."""
