"""How good colourings are: which pictures are measured, by what protocol, and the command."""
