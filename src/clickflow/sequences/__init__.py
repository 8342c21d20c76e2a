"""Events become sequences: units, splits, vocabulary, features, the packed store."""
