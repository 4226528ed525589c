"""Benchmarks: one command each, ratios within one run, JSON on standard output."""
