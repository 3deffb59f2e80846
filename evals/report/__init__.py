"""What the trials of a suite say together, and how it is shown."""
