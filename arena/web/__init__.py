"""The web app: Gradio pages mounted in FastAPI."""
