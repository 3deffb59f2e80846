"""What of the code that was read the next action needs, whole lines, word for word."""
