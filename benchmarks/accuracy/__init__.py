"""How good is a method: data sets x variants x seeds, trained in pairs: `python -m benchmarks.accuracy PLAN`."""
