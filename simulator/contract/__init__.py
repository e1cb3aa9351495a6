"""The API as a client knows it: operations, answers, and checks of one answer by itself. Pure functions of bytes."""
