"""Code generation: write a function, run its tests in a sandbox, repair it from the failures."""
