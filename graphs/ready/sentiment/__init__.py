"""The sentiment vote: several draws and two prompts, and UNCERTAIN where they do not agree."""
