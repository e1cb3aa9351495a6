"""People: how they log in, and the sessions that they have then."""
