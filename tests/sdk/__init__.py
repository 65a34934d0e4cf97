"""Tests that run Descope's official SDKs against the served emulator."""
