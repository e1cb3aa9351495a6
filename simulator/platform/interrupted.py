"""What a command that SIGINT ended says, and its exit code. It imports nothing: whoever loads a command needs it."""

INTERRUPTED = 130
"""What shells give as the exit code of a program that SIGINT ended: 128 and the signal's number."""
SAID = "hatchfarm: interrupted\n"
