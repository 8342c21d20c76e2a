"""Files of the shop, where they lie."""
