"""Programs that show fastapi-stepup at work; each one starts with `python -m examples.<name>`."""
