"""The page below ``/ui``: what people look at in a browser, written by the server."""
