"""The analysis of colour in the latent space: measuring, fitting lines and maps, drawing."""
