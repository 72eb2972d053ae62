"""The only place where domain types become messages and back, and where services are called.

`convert_*` modules translate one family of nouns each; `clients` holds one typed client per service.
"""
