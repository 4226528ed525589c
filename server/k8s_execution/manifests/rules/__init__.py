"""The rules that a plan must obey beyond its fields' types, by part of the plan; `manifests.check` runs them all."""
