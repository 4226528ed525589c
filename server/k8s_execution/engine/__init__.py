"""The product's brain and hands: `decide` is pure, `actuate` does what it says, `reconcile` is the loop between."""
