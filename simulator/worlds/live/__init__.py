"""The world of sockets and of time that passes."""
