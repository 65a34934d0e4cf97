"""Starts the shop: `python -m examples.tee_hee_tees`."""

from examples.tee_hee_tees.serve import main

main()
