"""How Sphinx builds the manual."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))

from pytaskfarmer import __version__ as release

project = "pytaskfarmer"
author = project_copyright = "the pytaskfarmer authors"
version = release

extensions = [
    "myst_parser",
    "sphinx.ext.autodoc",
    "generate.captions",
    "generate.commands",
    "generate.contracts",
    "generate.neighbours",
    "generate.plugins",
    "generate.sessions",
]
exclude_patterns = ["generate", "pictures", "style"]
myst_enable_extensions = ["deflist"]
myst_heading_anchors = 3

default_role = "code"  # docstrings write code as Markdown does
autodoc_member_order = "bysource"
autodoc_typehints_format = "short"
maximum_signature_line_length = 90
python_use_unqualified_type_names = True
# Other projects are not linked to, which would need the network. What is ours must be there, but for private names.
nitpick_ignore_regex = [
    (r"py:.*", r"(?!pytaskfarmer\.).*"),
    (r"py:.*", r".*\b_\w+"),
    (r"py:.*", r".*\.Cluster"),
]

smartquotes = False
html_theme = "furo"
html_title = f"pytaskfarmer {release}"
html_copy_source = False
html_show_sphinx = False
html_theme_options = {"navigation_with_keys": True}
html_static_path = ["style"]
html_css_files = ["manual.css"]
pygments_style = "friendly"
pygments_dark_style = "monokai"
