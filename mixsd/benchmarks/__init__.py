"""Benchmarks of what a model keeps: public ones, probes in context, and the sets of the library."""
