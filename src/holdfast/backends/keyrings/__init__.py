"""Where master keys are kept: this machine, Vault, or a cloud's key service."""
