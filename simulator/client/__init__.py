"""Speaking to a target over sockets, and finding out what it is."""
