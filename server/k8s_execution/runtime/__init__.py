"""Small tools that know nothing of the domain: backoff, clock, executor, supervision."""
