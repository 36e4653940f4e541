"""The command: its flags, which photographs are meant, what is done already, and what it says."""
