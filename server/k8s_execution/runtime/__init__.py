"""Small tools that know nothing of the domain: backoff, clocks, sealing, the process, the agent's program."""
