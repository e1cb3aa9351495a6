"""Agents and what they say to each other, decided without a clock, randomness or I/O: `now` and ids are arguments."""
