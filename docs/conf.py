"""The site of the documentation: `make docs` builds it in var/docs and fails on a link that leads nowhere."""

project = "mlops-assets"
extensions = ["myst_parser"]
html_theme = "furo"
html_title = "mlops-assets"
exclude_patterns = ["conf.py"]
myst_heading_anchors = 3
myst_enable_extensions = ["colon_fence"]
suppress_warnings = ["misc.highlighting_failure"]  # diagrams stay text here; GitHub and editors draw them
