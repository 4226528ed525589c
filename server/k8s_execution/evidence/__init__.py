"""Evidence of what ran: test code in, results, artifacts and objects out, kept in the archive."""
