"""`python -m k8s_simulation`: a simulated cluster until SIGTERM or SIGINT."""

from __future__ import annotations

import sys

from k8s_simulation.main import main

if __name__ == "__main__":
    sys.exit(main())
