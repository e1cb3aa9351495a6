"""Where machines live: `live` drives them over real sockets in real time, `virtual` in memory, by a seed."""
