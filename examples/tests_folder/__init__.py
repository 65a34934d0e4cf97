"""An app and its tests. Start them: `python -m pytest examples/tests_folder`."""
