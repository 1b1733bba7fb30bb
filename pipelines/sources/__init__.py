"""Sources: random access to raw records, one file each; they know no framework."""
