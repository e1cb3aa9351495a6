"""Scenario files: their schema, strict loading, and messages that say how to mend them."""
