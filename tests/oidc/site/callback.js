// Where the issuer sends the user back to: in the popup, or in the page itself.
import { tokenFor } from "./login.js";

if (window.opener) {
  window.opener.postMessage(location.href, location.origin);
  window.close();
} else {
  sessionStorage.token = await tokenFor(location.href);
  location.replace(sessionStorage.returnTo);
}
