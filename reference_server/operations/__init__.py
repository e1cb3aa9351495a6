"""The API as one table of operations, and the one way through it that every transport takes."""
