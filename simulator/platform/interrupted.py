"""The message and exit code of a command that SIGINT ended. Imports nothing, because it is needed while others load."""

INTERRUPTED = 130
"""The exit code that shells report for a program ended by SIGINT: 128 plus the signal's number."""
SAID = "hatchfarm: interrupted\n"
