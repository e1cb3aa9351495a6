"""What any command-line program needs: files, streams, signals, processes, and words for numbers."""
