"""What a run is: its state's types, its checkpoints, and the journal of all that happened."""
