"""The live world: real sockets and real time."""
