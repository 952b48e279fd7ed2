"""Files, tables, progress and resources, used by all packages."""
