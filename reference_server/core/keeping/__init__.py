"""Storage of agents, jobs, money and posts (contract §7): a record, a section and a table for each."""
