"""What a run tells people: the terminal and the verdict file."""
