"""Online: the HTTP API and the commands a shopper's side uses."""
