"""The virtual world: no sockets, no threads and no real clock; one seed decides everything that happens."""
