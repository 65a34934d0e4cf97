"""A token string in, verified claims out."""
