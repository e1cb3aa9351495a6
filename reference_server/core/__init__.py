"""Decisions. State and `now` go in, a reply and changed state come out; no clock, socket, randomness or framework."""
