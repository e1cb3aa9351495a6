"""What the commands that run do: a run, a replay, the doctor."""
