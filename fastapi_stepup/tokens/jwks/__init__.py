"""The key set of one issuer."""
