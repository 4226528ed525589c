"""The plan that `init` writes: runs as it is beside a test file, with the usual next steps as comments."""

from __future__ import annotations

EXAMPLE = """\
# A test plan. Run it with: k8s-execution run plan.yaml
# Editors complete it with the schema of `k8s-execution schema`.

# name: my-tests              # identity of the plan; default: the name of its folder
# labels: {branch: main}      # to find executions by
# parameters: {TAG: latest}   # ${param.TAG} below; changed by --param TAG=1.4

# What the tests need. All of it is optional.
# environment:
#   env: {LOG_LEVEL: debug}                        # into every application and test container
#   secrets: {API_TOKEN: {from_env: MY_TOKEN}}     # taken from your environment, never shown again
#   applications:
#     - name: api                                  # its host name too; tests get API_HOST, API_PORT, API_URL
#       image: "registry.example/my-api:${param.TAG}"
#       replicas: 2
#       ports: [{name: http, port: 8080}]
#       readiness: {http: {path: /healthz, port: 8080}}
#       resources: {cpu: 250m, memory: 256Mi}

test_plan:
  source: {local: {path: .}}  # this folder; .gitignore is honoured

  # setup:                    # commands before the suites; one that fails ends the run
  #   - {name: migrate, image: python:3-slim, command: [python, migrate.py], timeout: 120s}

  suites:                     # they run side by side, each in a pod of its own
    - name: unit
      type: PYTEST            # or CUSTOM with a command; its exit code decides then
      image: python:3-slim
      install: [[pip, install, pytest]]
      # command: [python, -m, pytest, -q]
      # env: {BASE_URL: "${api.url}"}
      # artifacts: ["coverage/"]
      timeout: 600s

  # teardown:                 # commands after the suites, whatever came of them
  #   - {name: dump, image: python:3-slim, command: [python, dump.py], artifacts: ["dump.json"]}

# policy:
#   timeout: 30m              # hooks and suites together
#   ttl: 60m                  # hard end of the environment
#   cleanup: ALWAYS           # or ON_SUCCESS, HOLD: keep it for hold_for, to debug in
"""
