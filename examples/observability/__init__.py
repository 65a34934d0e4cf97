"""The T-shirt shop with metrics for Prometheus and an audit trail."""
