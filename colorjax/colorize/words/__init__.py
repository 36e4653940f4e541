"""What words mean in a photograph: plain prompts, captions, and the parts that phrases name."""
