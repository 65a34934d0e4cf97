"""Descope's flow components, unmodified, in Chromium against the served emulator."""
