"""One module an experiment; each has ``run(params, cache)`` and writes one CSV of result rows."""
