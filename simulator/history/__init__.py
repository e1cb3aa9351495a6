"""What happened in a run, as rows and records, and what they are stored and merged as."""
