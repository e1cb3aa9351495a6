"""Players that work in any world under Trio: a fleet, its owners, agents, attackers and observers."""
