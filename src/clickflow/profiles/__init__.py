"""`clickflow profiles`: who the customers are: an embedding each, named segments with traits, similar customers."""
