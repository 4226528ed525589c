"""Values and rules of the product; the standard library only, no I/O, no clock, no asyncio."""
