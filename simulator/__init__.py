"""The simulator: a fleet of virtual provider machines, attacks on a HatchFarm server, and the checkers that judge it."""
