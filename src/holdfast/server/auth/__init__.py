"""Who calls: keys, tokens of accounts, and tokens of an OpenID Connect issuer."""
