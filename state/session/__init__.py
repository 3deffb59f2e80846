"""The session: checkpoints and journal of many threads, and what notes a LangGraph run in them."""
