"""Questions about a text: on this machine first, in the cloud where that will not do."""
