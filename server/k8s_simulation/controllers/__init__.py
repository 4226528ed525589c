"""The controllers of the simulated cluster: they read the storage by list and watch and write through the registry."""
