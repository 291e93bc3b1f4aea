"""WebShop as a text environment."""
