"""Jobs, capacity, prices and money, decided without a clock, randomness or I/O: `now` and ids are arguments."""
