"""What people watch the relay with: `python -m observability.dashboard` prints the Grafana dashboard of the chart.

The alerts are `charts/mailboat-relay/files/alerts.yaml`, written by hand. The relay never imports anything from here.
"""
