"""Bytes to values and back: nothing here decides, waits or reads a clock. All the simulator may import."""
