"""Adapters in the forms that engines take, and the proof that what was written says what the adapter says."""
