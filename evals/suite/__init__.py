"""What a suite says and what it runs."""
