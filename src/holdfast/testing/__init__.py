"""For authors of back ends: contracts, a reference machine, planted failures, hostile texts."""
