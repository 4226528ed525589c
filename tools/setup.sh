#!/usr/bin/env bash
# Prepare a checkout: system packages (as root, else one sentence naming them), virtual environment, agent binary.
# Usage: tools/setup.sh VENV
set -euo pipefail
venv=$1
cd "$(dirname "$0")/.."

say() { printf 'setup: %s\n' "$*" >&2; }

python=""
for candidate in python3.11 python3.12 python3.13 python3; do
  if command -v "$candidate" >/dev/null && "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    python=$candidate
    break
  fi
done

packages=()
[ -n "$python" ] || packages+=(python3 python3-venv)
[ -z "$python" ] || "$python" -c 'import venv, ensurepip' 2>/dev/null || packages+=(python3-venv)
command -v bwrap >/dev/null || packages+=(bubblewrap)
{ command -v ip && command -v nsenter; } >/dev/null || packages+=(iproute2 util-linux)
command -v iptables >/dev/null || packages+=(iptables)
if [ ${#packages[@]} -gt 0 ]; then
  if [ "$(id -u)" = 0 ] && command -v apt-get >/dev/null; then
    say "installing the Debian packages ${packages[*]} (running as root)"
    apt-get update -qq >/dev/null
    DEBIAN_FRONTEND=noninteractive apt-get install -y -qq --no-install-recommends "${packages[@]}" >/dev/null
    [ -n "$python" ] || python=python3
  elif [ -z "$python" ] || [[ " ${packages[*]} " == *" python3-venv "* ]]; then
    say "please install these packages first: ${packages[*]}"
    exit 1
  else
    say "without the packages ${packages[*]} pods of the simulated cluster are not isolated from each other"
  fi
fi

if [ ! -x "$venv/bin/python" ]; then
  say "making the virtual environment $venv with $($python --version)"
  "$python" -m venv "$venv"
fi
say "installing the locked requirements"
"$venv/bin/python" -m pip install -q --disable-pip-version-check --require-hashes -r requirements-dev.txt
"$venv/bin/python" -m pip install -q --disable-pip-version-check --no-deps --no-build-isolation -e clients/python -e .
say "building the agent (once for its sources, cached outside the checkout)"
"$venv/bin/python" tools/build_agent.py >/dev/null
