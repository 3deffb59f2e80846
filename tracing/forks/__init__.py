"""Forks: a new thread that begins inside another one."""
