"""The folder a run leaves behind: what is needed to judge it again offline, and proof that nobody changed it."""
