"""Adapters for operators: hooks for `on_event` (Prometheus, OpenTelemetry) and `on_audit`."""
