"""Logins of people, and their sessions."""
