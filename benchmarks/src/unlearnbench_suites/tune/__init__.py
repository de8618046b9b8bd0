"""Settings of methods, compared on concepts that no board evaluates: `python -m unlearnbench_suites.tune METHOD`."""
