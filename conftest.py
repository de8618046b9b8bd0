"""Settings of every test of the checkout, plugins included."""

import os

# The tests' models are tiny: more threads only wait for each other. Set before torch is imported.
os.environ.setdefault("OMP_NUM_THREADS", "1")
