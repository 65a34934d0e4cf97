// The page as an app would write it; what the tests need of it is on `window.page`.
const stepup = await import(document.body.dataset.stepup);

const outcome = document.querySelector("#outcome");
const page = { stepup, fetch: stepup.stepUpFetch, options: {} };

page.pay = async (url = "/pay", init = {}) => {
  const cart = JSON.stringify({ shirt: "M" });
  const headers = { "Content-Type": "application/json", ...init.headers };
  return page.fetch(url, { method: "POST", body: cart, ...init, headers });
};

document.querySelector("#pay").addEventListener("click", async () => {
  outcome.textContent = "…";
  try {
    const response = await page.pay();
    outcome.textContent = response.ok ? "Paid." : `Refused: ${response.status}`;
  } catch (error) {
    outcome.textContent = `${error.name}: ${error.code}`;
  }
});

window.page = page;
