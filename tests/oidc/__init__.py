"""A guarded app and npm `oidc-provider`, a certified OpenID provider."""
