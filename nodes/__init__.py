"""The nodes of a graph: steps that ask a model, rules and classifiers that compute, gates that stop."""
