"""What people watch the relay with: `make docs` writes the Grafana dashboard of the chart.

The alerts are `charts/mailboat-relay/files/alerts.yaml`, written by hand. The relay never imports anything from here.
"""
