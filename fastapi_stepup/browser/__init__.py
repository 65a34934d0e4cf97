"""The browser client and the routes that serve it."""
