"""The résumé screener: which requirements a résumé shows, and the line that shows each."""
