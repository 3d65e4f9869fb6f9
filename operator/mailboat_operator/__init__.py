"""The operator: it turns OutboundConfig resources into the configuration that relay pods read."""
