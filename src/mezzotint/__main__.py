"""`python -m mezzotint` is `mezzotint`."""

from mezzotint.cli.main import main

main()
