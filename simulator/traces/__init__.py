"""Traces: what went over the wire in a run, kept in a file, and sent again elsewhere."""
