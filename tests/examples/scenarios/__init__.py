"""What users do in the shop, in a browser."""
