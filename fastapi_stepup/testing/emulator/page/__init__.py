"""The page of a served emulator, and its files."""
