"""Contract suites that ship with the package: subclass one, give it a `make`, and inherit its tests."""
