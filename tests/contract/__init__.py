"""Tests of what clients see, over all entry points and servers."""
