"""What helps to test: the conformance suites, which other drivers and agents can run too."""
