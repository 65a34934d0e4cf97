"""Static files of Descope's flow component: configuration, theme, screens, UI components.

Descope serves them from hosts of their own; here they are below the emulator's URL, where the
component looks when `base-url` and `base-cdn-url` lead here.

By default the screens are plain HTML and the script of UI components is a stub, so no npm package
is needed. With a folder of `@descope/web-components-ui` the component shows Descope's own look.

Guarantees: another project's files are 404; no file outside the folder is served.
"""

from typing import Final

from starlette.exceptions import HTTPException
from starlette.requests import Request
from starlette.responses import HTMLResponse, JSONResponse, Response
from starlette.routing import Route

from fastapi_stepup.testing.emulator.methods.flow import FLOWS
from fastapi_stepup.testing.emulator.project import Project
from fastapi_stepup.testing.emulator.screens import descope_html, plain_html, screen_of
from fastapi_stepup.testing.emulator.ui_package import UI_PACKAGE, UIPackage

# A published version, so that a page without `base-cdn-url` can take the script from Descope's CDN.
_PLAIN_VERSION: Final = "3.14.1"
_HEADERS: Final = {"Cache-Control": "no-store"}
_SCRIPT: Final = """\
globalThis.DescopeUI = {
  componentsThemeManager: {},
  "descope-text": () => {},
  "descope-screen": () => {
    // The component takes Enter for its own elements; plain buttons would not get it.
    customElements.define("descope-screen", class extends HTMLElement {
      connectedCallback() {
        this.onkeydown = (event) => {
          if (event.key !== "Enter") return;
          const button = event.target.closest("button") ?? this.querySelector("[auto-submit]");
          event.preventDefault();
          event.stopPropagation();
          button?.click();
        };
      }
    });
  },
};
"""
_STYLE: Final = """\
descope-screen {
  box-sizing: border-box; display: flex; flex-direction: column; gap: 12px; margin: 0 auto;
  max-width: 380px; padding: 24px; background: #fff; color: #1a1c1e;
  font: 16px/1.45 system-ui, sans-serif;
}
descope-screen h1 { margin: 0; font-size: 22px; }
descope-screen p { margin: 0; }
descope-screen label { display: flex; flex-direction: column; gap: 4px; font-size: 14px; }
descope-screen input, descope-screen button {
  box-sizing: border-box; width: 100%; padding: 10px 12px; border: 1px solid #6b7280;
  border-radius: 8px; font: inherit; background: transparent; color: inherit;
}
descope-screen button { cursor: pointer; }
descope-screen button[auto-submit] { background: #1d4ed8; border-color: #1d4ed8; color: #fff; }
descope-screen button[loading] { cursor: progress; }
descope-screen :focus-visible { outline: 3px solid #60a5fa; outline-offset: 2px; }
descope-screen [data-type="error-message"] { color: #b3261e; }
descope-screen .hide { display: none; }
[data-theme="dark"] descope-screen { background: #17181a; color: #f1f3f5; }
[data-theme="dark"] descope-screen [data-type="error-message"] { color: #ffb4ab; }
"""


class FlowPages:
    """The files that Descope's flow component loads before and between its calls.

    Args:
        project: The emulated project.
        ui: The package of UI components, or None for plain HTML.
    """

    def __init__(self, project: Project, ui: UIPackage | None) -> None:
        self._project = project
        self._ui = ui

    def routes(self) -> list[Route]:
        """Return the endpoints of the component's files."""
        return [
            Route("/pages/{project_id}/v2-beta/{file}", self._page),
            Route(f"/npm/{UI_PACKAGE}@{{version}}/dist/umd/{{file:path}}", self._script),
        ]

    async def _page(self, request: Request) -> Response:
        file = request.path_params["file"]
        if request.path_params["project_id"] != self._project.project_id:
            raise HTTPException(404)
        if file == "config.json":
            return JSONResponse(self._config(), headers=_HEADERS)
        if file == "theme.json":
            return JSONResponse(self._theme(), headers=_HEADERS)
        screen = screen_of(file.removesuffix(".html"))
        if screen is None or not file.endswith(".html"):
            raise HTTPException(404)
        page = descope_html(screen) if self._ui else plain_html(screen)
        return HTMLResponse(page, headers=_HEADERS)

    async def _script(self, request: Request) -> Response:
        file = request.path_params["file"]
        content, media_type = _SCRIPT.encode(), "text/javascript"
        if self._ui:
            try:
                content, media_type = self._ui.file(file)
            except LookupError:
                raise HTTPException(404) from None
        elif file != "index.js":
            raise HTTPException(404)
        return Response(content, headers=_HEADERS, media_type=media_type)

    def _config(self) -> dict[str, object]:
        # Without `startScreenId` the component calls `flow/start` at once.
        flow = {"version": 1, "targetLocales": []}
        fonts: dict[str, object] = {"fonts": {}}
        return {
            "componentsVersion": self._ui.version if self._ui else _PLAIN_VERSION,
            "cssTemplate": {"light": fonts, "dark": fonts},
            "flows": dict.fromkeys(FLOWS, flow),
        }

    def _theme(self) -> dict[str, object]:
        style = "" if self._ui else _STYLE
        return {
            "light": {"globals": style, "components": {}},
            "dark": {"globals": "", "components": {}},
        }
