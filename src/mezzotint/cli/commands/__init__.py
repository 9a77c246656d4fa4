"""One file per command, one folder per group of commands."""
