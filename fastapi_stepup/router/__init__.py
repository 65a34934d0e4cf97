"""The helper routes."""
