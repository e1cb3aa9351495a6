"""Attacks on logins, sessions and identities, with a provider on this machine that says whatever an attack wants."""
