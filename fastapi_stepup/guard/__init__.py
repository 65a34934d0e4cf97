"""A connection and a policy in, claims or a refusal out."""
