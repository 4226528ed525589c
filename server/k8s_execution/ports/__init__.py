"""What the use cases and the engine need of the world, as small Protocols by consumer; adapters fulfil them."""
