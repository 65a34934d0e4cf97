"""A user's authenticators, in software."""
