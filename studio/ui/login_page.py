"""The page that asks for the password."""

from html import escape

PAGE = """<!doctype html><html lang="en"><head><meta charset="utf-8">
<meta name="viewport" content="width=device-width, initial-scale=1"><title>Fine-tuning Studio</title>
<style>body{{font:15px system-ui,sans-serif;display:grid;place-items:center;min-height:100vh;margin:0;
background:#f6f8f9;color:#12211f}}form{{background:#fff;border:1px solid #dde5e4;border-radius:14px;padding:28px;
width:min(300px,80vw);display:grid;gap:14px}}h1{{font-size:18px;margin:0}}input,button{{font:inherit;padding:9px 12px;
border-radius:8px;border:1px solid #c6d2d0}}button{{background:#0f766e;color:#fff;border:0;font-weight:600}}
p{{margin:0;color:#b42318}}@media(prefers-color-scheme:dark){{body{{background:#0b1211;color:#e6efed}}
form{{background:#121c1a;border-color:#22302d}}input{{background:#0b1211;color:inherit;border-color:#2f423e}}}}</style>
</head><body><form method="post" action="/login"><h1>Fine-tuning Studio</h1>{message}
<label for="password">Password · 密码</label>
<input id="password" name="password" type="password" autocomplete="current-password" autofocus required>
<button>Log in · 登录</button></form></body></html>"""


def login_page(message: str = "") -> str:
    """The form, with what went wrong the last time."""
    return PAGE.format(message=f"<p role='alert'>{escape(message)}</p>" if message else "")
