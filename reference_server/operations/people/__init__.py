"""The pages for people at `/`: what they ask, how they look, and their rows of operations."""
