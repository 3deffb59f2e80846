"""What answers: endpoints over HTTP, the on-device model, LangChain chat models."""
