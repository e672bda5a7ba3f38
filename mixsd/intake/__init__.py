"""Facts from files: formats, the one validator, and a linter. For API, command line and worker alike."""
