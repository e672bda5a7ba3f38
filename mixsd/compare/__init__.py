"""Methods on the same facts: what each of them teaches, and what it costs the model."""
