"""Identity providers, one package each."""
