"""The commands, each a file: its signature and what it does. Nothing else imports this package."""
