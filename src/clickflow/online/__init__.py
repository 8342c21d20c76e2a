"""Champions that answer at once: histories in, answers out; what the server, the page and the explanations stand on."""
