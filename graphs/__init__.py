"""The patterns, each a LangGraph state graph, and ready workflows made of them."""
