"""Better prompts: proposed by a model that reads what failed, and kept only if held-out cases say so."""
