"""How much load a server bears: the highest fleet rate at which a scenario's thresholds and all checkers still hold."""
