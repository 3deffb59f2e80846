"""From what a trial did to its scores."""
