"""A twin in memory of every port: for tests, and for a world in which no socket, file, thread or clock of ours is."""
