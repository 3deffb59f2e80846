"""The support agent: a model that looks things up in the shop, and may write an e-mail."""
