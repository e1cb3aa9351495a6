"""The commands that play: one run, several runs, a replay, and the doctor's checks before them."""
