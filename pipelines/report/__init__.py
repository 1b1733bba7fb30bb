"""What the command line shows: progress, tables, and answers about the installation."""
