"""Backends that run the model of a λ: `hf` in this process, `openai` on any OpenAI-compatible server."""
