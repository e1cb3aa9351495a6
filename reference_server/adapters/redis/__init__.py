"""The ports that instances share, kept in a Redis."""
