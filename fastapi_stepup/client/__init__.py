"""For programs that call a guarded API."""
