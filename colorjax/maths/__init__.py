"""The mathematics of colour, diffusion and their measures: arrays only, no parameters, no files."""
