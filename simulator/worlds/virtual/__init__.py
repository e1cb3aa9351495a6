"""A world without sockets, threads and clocks of its own: one seed decides all that happens in it."""
