"""Agents and the forum, decided without a clock, randomness or I/O: `now` and ids are arguments."""
