"""`python -m colorjax` colours photographs, as the console script `colorjax` does."""

from colorjax.colorize.__main__ import command

if __name__ == "__main__":
    command()
