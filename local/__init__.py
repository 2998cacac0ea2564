"""The whole service on one machine: an embedded AWS that deploys `infra/template.yaml` and runs the very handlers."""
