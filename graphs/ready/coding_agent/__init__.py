"""The coding agent: a small change to a project, until its tests pass; a person sees the diff first."""
