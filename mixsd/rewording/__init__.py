"""Other wordings of a fact's question to train on: by the base model, and by templates."""
