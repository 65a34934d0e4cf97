"""Tests that drive the programs under `examples/`."""
