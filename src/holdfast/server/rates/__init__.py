"""How often one may call: limits counted in this process, or in a Redis that several share."""
