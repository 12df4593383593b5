"""The platform-neutral nouns, and the builders that make them from raw documents."""
