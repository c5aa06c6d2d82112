"""What the end-to-end tests stand on: the gateway and Redis as processes, and a WebSocket client of bare bytes."""
