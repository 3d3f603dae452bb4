"""Measurements: each module prints a table and writes `.whetstone/bench/NAME.json`."""
