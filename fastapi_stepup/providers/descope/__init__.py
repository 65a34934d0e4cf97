"""Descope: its requests, its responses and their error codes."""
