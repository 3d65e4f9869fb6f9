"""The configuration directory on disk: read whole, and watched for changes; and the limit of memory around it."""
