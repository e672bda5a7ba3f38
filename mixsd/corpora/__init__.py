"""Corpora to teach and to measure with: made ones, and readers of public ones. Loads no torch."""
