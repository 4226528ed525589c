"""Client and command line of the execution service; installs without the server."""
