"""Who answers: model roles, endpoints, the on-device model, and what surrounds every call."""
