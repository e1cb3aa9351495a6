"""Worlds in which scenarios are played: `live` over real sockets in real time, `virtual` in memory from a seed."""
