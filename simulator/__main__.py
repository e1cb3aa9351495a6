"""`python -m simulator`: the `hatchfarm` command."""

from simulator.commands.cli import main

main()
