"""What limits deliveries: sections, providers, rates, and which of them hold for some mail. Pure; knows no file."""
