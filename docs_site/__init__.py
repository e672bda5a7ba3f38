"""The site of the documents: pages that are made from contract, commands and settings, and from the README.

`mkdocs.yml` names `docs_site/hooks.py`; nothing that is made is kept in the repository.
"""
