"""Sign-in methods of the emulator, one module each."""
