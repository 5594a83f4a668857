"""The data sets the package knows by name: one YAML each, in the form of a user's `dataset.yaml`."""
