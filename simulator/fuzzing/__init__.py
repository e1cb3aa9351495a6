"""Scenarios drawn from seeds, played in virtual time until one fails, and the smallest that fails in the same way."""
