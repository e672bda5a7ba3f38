"""Decoding from two conditionals of one model."""
