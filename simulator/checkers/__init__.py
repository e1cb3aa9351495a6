"""Pure functions from a history to a verdict, one module a property."""
