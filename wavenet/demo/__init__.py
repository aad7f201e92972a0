"""A local web page to play with a model: `server` runs it, `app` answers, `page/` is what the browser loads.

Starlette and a page of our own, not Gradio: that streams sound as AAC segments that an ffmpeg process encodes, and
what is heard and downloaded here has to be the model's samples. Gradio is also some fifty packages, asks its makers'
server for its newest version and sends usage statistics unless told not to.
"""
