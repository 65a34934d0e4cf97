"""Metrics and audit records: one test module each."""
