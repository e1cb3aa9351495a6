"""The attack catalogue, one module a family."""
