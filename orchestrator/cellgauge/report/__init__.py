"""Turns stored results into what people and programs read."""
