"""Pure conversions between the contract's messages and the domain, by subject."""
