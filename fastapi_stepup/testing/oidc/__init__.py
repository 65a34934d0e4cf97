"""A local stand-in for an OpenID issuer."""
