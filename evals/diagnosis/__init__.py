"""Which node made a workflow worse."""
