"""What runs a model at a λ: `hf` in this process, `openai` on any OpenAI-compatible server."""
