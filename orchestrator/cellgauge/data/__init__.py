"""Datasets: fetched, checked, and shown to models without their answers."""
