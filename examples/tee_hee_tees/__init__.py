"""A T-shirt shop: anyone browses, a cart needs a session, and an order needs step-up."""
