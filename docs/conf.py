"""Sphinx settings: Markdown pages, warnings are errors (`make docs`)."""

from importlib.metadata import version as installed

project = "cellgauge"
author = "the cellgauge authors"
copyright = "2026, the cellgauge authors"
version = release = installed("cellgauge")
extensions = ["myst_parser", "sphinx.ext.autodoc", "sphinx.ext.napoleon", "sphinx.ext.viewcode"]
myst_enable_extensions = ["colon_fence", "dollarmath"]
myst_heading_anchors = 3
exclude_patterns = ["_build"]
html_theme = "furo"
html_title = "cellgauge"
autodoc_typehints = "description"
napoleon_google_docstring = False
nitpicky = False
