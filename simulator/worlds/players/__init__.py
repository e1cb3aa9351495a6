"""Those who play in any world under Trio: a fleet, its owners, agents, attackers and observers."""
