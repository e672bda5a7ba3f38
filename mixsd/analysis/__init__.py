"""What a run was made of and what it did to the model: analyses of a folder that lies there."""
