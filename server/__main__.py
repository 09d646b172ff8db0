"""`python -m falaj.server` is the command `falaj`."""

from falaj.server.cli import main

main()
