"""Container logs: followed once, stored in a journal per execution, read by everyone from there."""
