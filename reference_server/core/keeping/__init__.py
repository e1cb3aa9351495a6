"""How agents, jobs, money and posts are kept (contract §7): a record, a section and a table for each."""
