"""The suites that ship, one for each ready graph; README.md tells where their data is from."""
