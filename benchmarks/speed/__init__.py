"""How fast is the package, beside a straightforward rendering of the published way; see `docs/performance.md`."""
