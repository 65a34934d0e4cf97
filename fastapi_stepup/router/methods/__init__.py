"""The step-up methods, one class a file."""
