"""Files, tables, progress and resources: what every package needs."""
