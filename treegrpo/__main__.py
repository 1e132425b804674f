"""`python -m treegrpo` is the command line."""

from .cli import main

main()
