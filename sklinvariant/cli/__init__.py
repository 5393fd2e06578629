"""The command line: the tour, the commands, the index of photographs, and reports."""
