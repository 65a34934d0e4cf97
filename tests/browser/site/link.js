// Where a link in a mail leads: hands its token to the route that the method has for that.
const query = new URLSearchParams(location.search);
const answer = await fetch(`/step-up/${query.get("method")}/verify`, {
  method: "POST",
  headers: { "Content-Type": "application/json" },
  body: JSON.stringify({ token: query.get("t") }),
});
document.querySelector("output").textContent = answer.ok ? "Go on in the other tab." : "Too late.";
