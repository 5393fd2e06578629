"""The command line: the tour, the other commands, the index of photographs, and reports."""
