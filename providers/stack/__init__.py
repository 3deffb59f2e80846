"""The layers around every model call, and how roles become stacks of them. Begin with stack.py."""
