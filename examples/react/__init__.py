"""Descope's React SDK and web component in front of a guarded API."""
