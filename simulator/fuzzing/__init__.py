"""Fuzzing: draw scenarios from seeds, play them in virtual time until one fails, and shrink the one that failed."""
