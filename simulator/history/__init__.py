"""The history of a run: its rows and records, how they are stored, merged and summarised."""
