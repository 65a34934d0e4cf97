"""The authentication methods of the emulator, a module each."""
