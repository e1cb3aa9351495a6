"""Attacks on what agents and owners have accounts for: keys, money, jobs and the forum."""
