"""The reference: every port of the store in plain dictionaries, obviously right, for tests only."""
