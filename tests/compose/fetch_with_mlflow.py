"""Draws pictures with a registered generator; needs MLflow and torch, and no ganlib: ``… MODEL``."""

import sys

import mlflow
import numpy

program = mlflow.pyfunc.load_model(f"models:/{sys.argv[1]}@champion")
pictures = program.predict(numpy.random.default_rng(0).standard_normal((4, 100)).astype(numpy.float32))
assert "ganlib" not in sys.modules
print(pictures.shape, float(numpy.abs(pictures).max()) <= 1.0)
