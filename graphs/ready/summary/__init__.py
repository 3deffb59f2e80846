"""The summary of a long document, with the places that it comes from."""
