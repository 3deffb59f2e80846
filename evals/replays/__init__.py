"""A cohort of recorded runs against a change: what would it have done to them?"""
