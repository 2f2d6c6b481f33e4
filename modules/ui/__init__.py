"""The web page, built with Gradio from the declared fields. It only displays; jobs live in the engine."""
