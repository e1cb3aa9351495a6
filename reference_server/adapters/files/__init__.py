"""The ports that outlive a process, kept in files."""
