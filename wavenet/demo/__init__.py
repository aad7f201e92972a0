"""Local web page for trying out a model: `server` runs it, `app` answers requests, `page/` is loaded by the browser.

It uses Starlette and a page of its own, not Gradio: Gradio streams audio as AAC segments that an ffmpeg process
encodes, and the audio that is played and downloaded here must be the model's samples. Gradio also has about fifty
dependencies, checks its makers' server for the newest version and sends usage statistics unless disabled.
"""
