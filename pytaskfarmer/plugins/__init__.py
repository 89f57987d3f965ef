"""How names become runners and handlers."""
