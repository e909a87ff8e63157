"""What ``/openapi.json`` says of the API, made from what requests are held to and answers are built of."""
