"""Bytes to values and back: nothing here decides, waits, or reads a clock. The simulator may import this package only."""
