"""Tests of the emulator, its plugin and its assertions."""
