"""Live load as Locust conducts it: its users start and stop machines, which play in Trio shards beside its workers."""
