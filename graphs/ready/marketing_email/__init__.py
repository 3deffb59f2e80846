"""Marketing e-mails: drafted from an offer, checked for compliance, translated."""
