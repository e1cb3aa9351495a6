"""What a client knows of the API, and what it can tell from an answer alone. Pure functions of bytes."""
