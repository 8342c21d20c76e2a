"""People in the data: forgetting one everywhere, and the key of their pseudonyms."""
