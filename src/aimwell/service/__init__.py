"""The wire: events in, decisions out, links, hooks, and what watches over them."""
