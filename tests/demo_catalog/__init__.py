"""The demo catalog: hand-written material and the generator that turns it into catalogs/demo."""
