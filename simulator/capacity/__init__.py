"""A server's capacity: the highest rate of heartbeats at which a scenario's thresholds and all checkers still hold."""
