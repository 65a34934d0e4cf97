"""A local stand-in for Descope."""
