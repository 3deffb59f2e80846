"""Product descriptions: drafted from facts, checked by code, held against the brand's rules, translated."""
