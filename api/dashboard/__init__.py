"""The pages for people: rendered on the server, kept live by the same templates."""
