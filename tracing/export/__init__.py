"""Traces, prompts and scores on their way elsewhere: Langfuse and OTLP."""
