"""Support code of a kind that any command-line program needs: files, streams, signals, processes, number formats."""
