"""A user's table in, standardised arrays and the encoder that made them out."""
