"""The page, built with Gradio from the declared fields. A viewer: jobs live in the engine."""
