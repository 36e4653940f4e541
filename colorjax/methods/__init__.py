"""The published methods: the only place where networks, schedules and samplers are put together."""
