"""UIPackage: a folder of `@descope/web-components-ui`, as npm installs it."""

import json
from pathlib import Path
from typing import Final

UI_PACKAGE: Final = "@descope/web-components-ui"
_MEDIA_TYPES: Final = {".js": "text/javascript", ".woff": "font/woff"}
# The package's own theme, in place of the one that a project has: DescopeDev.js is its development
# build. The setter keeps it when the component sets the emulator's empty theme later.
_THEME_LOADER: Final = """
;(() => {
  const manager = globalThis.DescopeUI.componentsThemeManager;
  const { set } = Object.getOwnPropertyDescriptor(Object.getPrototypeOf(manager), "themes");
  let own = {};
  Object.defineProperty(manager, "themes", {
    configurable: true,
    set(given) { set.call(manager, Object.keys(given?.light ?? {}).length ? given : own); },
  });
  const script = document.createElement("script");
  script.src = document.currentScript.src.replace("index.js", "DescopeDev.js");
  script.nonce = globalThis.DESCOPE_NONCE ?? "";
  script.onload = () => {
    const { darkTheme, defaultTheme, themeToStyle } = globalThis.DescopeDev;
    const light = themeToStyle(defaultTheme);
    const dark = themeToStyle(darkTheme);
    own = { light: light.components, dark: dark.components };
    manager.themes = own;
    const sheet = new CSSStyleSheet();
    sheet.replaceSync(`descope-wc {${light.globals}} descope-wc[theme="dark"] {${dark.globals}}
      @media (prefers-color-scheme: dark) { descope-wc[theme="os"] {${dark.globals}} }`);
    document.adoptedStyleSheets.push(sheet);
  };
  document.head.append(script);
})();
"""


class UIPackage:
    """A folder of `@descope/web-components-ui`, as npm installs it.

    Args:
        folder: The package's folder.

    Attributes:
        version: The package's version.

    Raises:
        ValueError: The folder is not that package.
    """

    def __init__(self, folder: Path) -> None:
        self._scripts = (folder / "dist" / "umd").resolve()
        try:
            described = json.loads((folder / "package.json").read_text(encoding="utf-8"))
        except (OSError, ValueError):
            described = {}
        is_package = isinstance(described, dict) and described.get("name") == UI_PACKAGE
        if not is_package or not (self._scripts / "index.js").is_file():
            raise ValueError(
                f"{folder} is not the package {UI_PACKAGE}: run `npm install {UI_PACKAGE}` "
                f"and pass its folder, node_modules/{UI_PACKAGE}."
            )
        self.version: str = str(described.get("version"))

    def file(self, name: str) -> tuple[bytes, str]:
        """Return one of its scripts or fonts, and the media type.

        Raises:
            LookupError: There is no such file.
        """
        file = (self._scripts / name).resolve()
        is_inside = file.is_relative_to(self._scripts)
        if not is_inside or file.suffix not in _MEDIA_TYPES or not file.is_file():
            raise LookupError(name)
        content = file.read_bytes()
        if name == "index.js":
            content += _THEME_LOADER.encode()
        return content, _MEDIA_TYPES[file.suffix]
