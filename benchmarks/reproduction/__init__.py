"""The papers' claims at the size of the bundled model: rows, each by a command, each kept."""
