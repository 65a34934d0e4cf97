"""Tests of the project: packaging, documents, types, benchmarks."""
