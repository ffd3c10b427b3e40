"""`python -m unmask.cli` is `unmask`."""

from unmask.cli.main import main

main()
