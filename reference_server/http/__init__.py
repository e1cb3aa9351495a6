"""Serving the operation table over sockets: the express lane, and Hypercorn with Quart-Trio behind it."""
