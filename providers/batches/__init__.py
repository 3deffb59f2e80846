"""The batch APIs of providers: many calls handed in together, answered within a day at a lower price."""
