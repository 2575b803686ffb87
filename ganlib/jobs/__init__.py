"""Programs that run on the cluster. Each job is a module: ``python -m ganlib.jobs.train RUN``.

A job reads ``runs/RUN/spec.json`` from the object store and leaves a JSON result there, so whoever
asked for it may be gone by the time it ends.
"""
