"""How good a workflow is, measured."""
